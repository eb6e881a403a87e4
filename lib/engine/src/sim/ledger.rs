// SPDX-License-Identifier: GPL-3.0-or-later
//! The history of a persistent database: which states there were, and which of them were acknowledged
//! (`spec/database.md 26.3`).

use crate::packet::ClientId;
use std::collections::BTreeMap;

/// Number of a state, each made by one transaction; 0: the empty database.
pub type StateId = u64;

/// The record that names the state.
pub(super) const LAST: &[u8] = b"last";

#[derive(Debug, Clone, Default)]
struct State {
    parent: StateId,
    /// Which transaction wrote each key last.
    content: BTreeMap<Vec<u8>, StateId>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    states: BTreeMap<StateId, State>,
    last: StateId,
    /// The newest state that a client was told of.
    acknowledged: StateId,
    /// Who may run a transaction: the lock that clients keep in `g_lock`.
    pub(super) holder: Option<ClientId>,
    /// Transactions that were acknowledged.
    pub committed: u64,
    /// Transactions whose end the client could only learn from the sequence number.
    pub uncertain: u64,
}

impl Ledger {
    /// The next transaction: on top of `parent` it writes `keys` and [`LAST`].
    pub(super) fn begin(&mut self, parent: StateId, keys: &[Vec<u8>]) -> StateId {
        self.last += 1;
        let mut content = self.states.get(&parent).cloned().unwrap_or_default().content;
        for key in keys.iter().cloned().chain([LAST.to_vec()]) {
            content.insert(key, self.last);
        }
        self.states.insert(self.last, State { parent, content });
        self.last
    }

    /// The client was told that its transaction is committed.
    pub(super) fn acknowledge(&mut self, state: StateId) {
        self.acknowledged = state;
        self.committed += 1;
    }

    pub(super) fn acknowledged(&self) -> StateId {
        self.acknowledged
    }

    /// Whether `state` is `ancestor` or was built on it.
    pub(super) fn contains(&self, mut state: StateId, ancestor: StateId) -> bool {
        while state > ancestor {
            match self.states.get(&state) {
                Some(s) => state = s.parent,
                None => return false,
            }
        }
        state == ancestor
    }

    /// Whether a file's content is that of one state; the state, or what does not fit.
    pub(super) fn state_of(&self, file: &BTreeMap<Vec<u8>, StateId>) -> Result<StateId, String> {
        let id = file.get(LAST).copied().unwrap_or(0);
        let empty = BTreeMap::new();
        let expected = match self.states.get(&id) {
            Some(state) => &state.content,
            None if id == 0 => &empty,
            None => return Err(format!("state {id} was never written")),
        };
        if expected == file {
            Ok(id)
        } else {
            Err(format!("not one state: {file:?} instead of {expected:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_whole_and_in_line() {
        let mut ledger = Ledger::default();
        let one = ledger.begin(0, &[b"a".to_vec()]);
        let two = ledger.begin(one, &[b"b".to_vec()]);
        let fork = ledger.begin(one, &[b"a".to_vec()]);
        assert!(
            ledger.contains(two, one) && ledger.contains(two, 0) && !ledger.contains(fork, two)
        );
        let file = |list: &[(&[u8], u64)]| list.iter().map(|(k, v)| (k.to_vec(), *v)).collect();
        assert_eq!(ledger.state_of(&file(&[])), Ok(0));
        assert_eq!(ledger.state_of(&file(&[(b"a", one), (b"b", two), (LAST, two)])), Ok(two));
        assert!(ledger.state_of(&file(&[(b"a", one), (LAST, two)])).is_err());
    }
}
