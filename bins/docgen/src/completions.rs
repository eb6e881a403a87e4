// SPDX-License-Identifier: GPL-3.0-or-later
//! Completions for bash, zsh and fish. Those of bash and fish ask `ctdb` for the names of databases and the
//! numbers of nodes, which costs a connection to the daemon and nothing if there is none.

use clap::{Arg, Command};
use clap_complete::{generate, Shell};

/// Where shells look for a completion, below the prefix, and what is in it.
pub fn all(command: &Command) -> Vec<(String, Vec<u8>)> {
    let name = command.get_name();
    // a question mark is a pattern to shells, and fish's completion does not quote it
    let quiet = |arg: Arg| if arg.get_short() == Some('?') { arg.short(None) } else { arg };
    let command = &command.clone().mut_args(quiet);
    [
        (format!("bash-completion/completions/{name}"), Shell::Bash),
        (format!("zsh/site-functions/_{name}"), Shell::Zsh),
        (format!("fish/vendor_completions.d/{name}.fish"), Shell::Fish),
    ]
    .into_iter()
    .map(|(path, shell)| {
        let mut text = Vec::new();
        generate(shell, &mut command.clone(), name, &mut text);
        if name == "ctdb" {
            let more = match shell {
                Shell::Bash => bash(command),
                Shell::Fish => fish(command),
                _ => String::new(),
            };
            text.extend_from_slice(more.as_bytes());
        }
        (path, text)
    })
    .collect()
}

/// The commands whose first argument is a database.
fn with_database(command: &Command) -> Vec<&str> {
    let takes = |command: &&Command| {
        let arguments = command.get_positionals().filter_map(|arg| arg.get_help());
        arguments.map(ToString::to_string).any(|help| help.starts_with("<dbname|dbid>"))
    };
    command.get_subcommands().filter(takes).map(Command::get_name).collect()
}

fn bash(command: &Command) -> String {
    let all: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    BASH.replace("DATABASE_COMMANDS", &with_database(command).join("|"))
        .replace("ALL_COMMANDS", &all.join(" "))
}

const BASH: &str = r#"
# names of databases, numbers of nodes, and commands behind help; all else as above
_ctdb_dynamic() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    case "$prev" in
    DATABASE_COMMANDS)
        COMPREPLY=($(compgen -W "$(ctdb -t 2 -X -x '|' getdbmap 2>/dev/null | tail -n +2 | cut -d '|' -f 3)" -- "$cur"))
        return 0
        ;;
    -n|--node)
        COMPREPLY=($(compgen -W "$(ctdb -X -x '|' listnodes 2>/dev/null | cut -d '|' -f 2)" -- "$cur"))
        return 0
        ;;
    help)
        COMPREPLY=($(compgen -W "ALL_COMMANDS" -- "$cur"))
        return 0
        ;;
    esac
    _ctdb "$@"
}

if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -F _ctdb_dynamic -o nosort -o bashdefault -o default ctdb
else
    complete -F _ctdb_dynamic -o bashdefault -o default ctdb
fi
"#;

fn fish(command: &Command) -> String {
    let databases = with_database(command).join(" ");
    format!(
        "\n# names of databases and numbers of nodes\n\
         complete -c ctdb -n \"__fish_seen_subcommand_from {databases}\" -f -a \"(ctdb -t 2 -X -x '|' getdbmap 2>/dev/null \
         | tail -n +2 | cut -d '|' -f 3)\"\n\
         complete -c ctdb -s n -l node -x -a \"(ctdb -X -x '|' listnodes 2>/dev/null | cut -d '|' -f 2)\"\n"
    )
}
