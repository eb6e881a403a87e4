// SPDX-License-Identifier: GPL-3.0-or-later
//! What each command does, at length: `ctdb help COMMAND` and the manual page.

mod cluster;
mod data;

/// A command, explained.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// The command.
    pub name: &'static str,
    /// What it does, one paragraph a line.
    pub text: &'static str,
    /// Calls, and what they are for.
    pub examples: &'static [(&'static str, &'static str)],
}

const fn entry(name: &'static str, text: &'static str) -> Entry {
    Entry { name, text, examples: &[] }
}

impl Entry {
    const fn such_as(self, examples: &'static [(&'static str, &'static str)]) -> Entry {
        Entry { examples, ..self }
    }
}

/// The explanation of a command.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    cluster::ENTRIES.iter().chain(data::ENTRIES).find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    #[test]
    fn every_command_is_explained_once() {
        for command in table::COMMANDS {
            let text = find(command.name).map_or("", |entry| entry.text);
            assert!(text.len() > 30, "{}: {text:?}", command.name);
        }
        let all: Vec<_> = cluster::ENTRIES.iter().chain(data::ENTRIES).collect();
        assert_eq!(all.len(), table::COMMANDS.len(), "an explanation of nothing, or twice");
        for entry in all {
            assert!(table::find(entry.name).is_some(), "{}", entry.name);
        }
    }

    #[test]
    fn examples_call_their_command() {
        for entry in cluster::ENTRIES.iter().chain(data::ENTRIES) {
            for (call, _) in entry.examples {
                assert!(
                    call.contains(&format!("ctdb {}", entry.name)) || call.contains(" "),
                    "{call}"
                );
                assert!(call.split_whitespace().any(|word| word == entry.name), "{call}");
            }
        }
    }
}
