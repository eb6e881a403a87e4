// SPDX-License-Identifier: GPL-3.0-or-later
//! The text of golden files: reading and writing.

use std::fmt::Write as _;

use anyhow::{bail, Context, Result};

/// A golden file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Comment lines at the top.
    pub head: Vec<String>,
    /// The blocks in order.
    pub blocks: Vec<Block>,
}

/// Commands on one scripted daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Comment lines.
    pub comments: Vec<String>,
    /// The scenario.
    pub state: String,
    /// The scenario is named in this block, not inherited.
    pub names_state: bool,
    /// Lines that say what goes wrong.
    pub faults: Vec<String>,
    /// `NAME=VALUE` of the tools' environment.
    pub env: Vec<String>,
    /// The daemon does not run.
    pub down: bool,
    /// Why only our tool has what this block shows.
    pub ours_only: Option<String>,
    /// The commands.
    pub steps: Vec<Step>,
}

/// One command and what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The words behind `ctdb`.
    pub line: String,
    /// Standard input.
    pub input: Vec<String>,
    /// What is not compared.
    pub mask: Option<String>,
    /// Seconds that it may take.
    pub within: Option<u64>,
    /// What Debian's tool says, and ours unless `differs`.
    pub expected: Output,
    /// What ours says instead, and why.
    pub differs: Option<(String, Output)>,
}

/// What a command said and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// What the daemon was told.
    pub notes: Vec<String>,
    /// `exit N`, or how else it ended.
    pub ending: String,
}

/// Appends a line of recorded text; `~` for one without a newline.
fn push_line(text: &mut String, rest: &str) {
    match rest.strip_prefix('~') {
        Some(unfinished) => text.push_str(unfinished),
        None => {
            text.push_str(rest.strip_prefix(' ').unwrap_or(rest));
            text.push('\n');
        }
    }
}

fn write_lines(out: &mut String, mark: char, text: &str) {
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some("") => out.push(mark),
            Some(whole) => {
                let _ = write!(out, "{mark} {whole}");
            }
            None => {
                let _ = write!(out, "{mark}~{line}");
            }
        }
        out.push('\n');
    }
}

impl Output {
    fn write(&self, out: &mut String) {
        write_lines(out, '>', &self.stdout);
        write_lines(out, '!', &self.stderr);
        for note in &self.notes {
            let _ = writeln!(out, "@ {note}");
        }
        let _ = writeln!(out, "{}", self.ending);
    }
}

impl File {
    /// Reads a golden file.
    pub fn parse(text: &str) -> Result<File> {
        let mut file = File { head: Vec::new(), blocks: Vec::new() };
        let mut state = String::new();
        for (number, paragraph) in paragraphs(text).into_iter().enumerate() {
            if number == 0 && paragraph.iter().all(|(_, line)| line.starts_with('#')) {
                file.head = paragraph.into_iter().map(|(_, line)| line.to_string()).collect();
                continue;
            }
            let block = Block::parse(&paragraph, &state)?;
            state.clone_from(&block.state);
            file.blocks.push(block);
        }
        Ok(file)
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for line in &self.head {
            let _ = writeln!(out, "{line}");
        }
        for block in &self.blocks {
            if !out.is_empty() {
                out.push('\n');
            }
            block.write(&mut out);
        }
        out
    }
}

/// Lines with their numbers, in groups that empty lines separate.
fn paragraphs(text: &str) -> Vec<Vec<(usize, &str)>> {
    let mut groups = vec![Vec::new()];
    for (at, line) in text.lines().enumerate() {
        match (line.is_empty(), groups.last_mut()) {
            (false, Some(group)) => group.push((at + 1, line)),
            (true, Some(group)) if !group.is_empty() => groups.push(Vec::new()),
            _ => (),
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

impl Block {
    fn parse(lines: &[(usize, &str)], state: &str) -> Result<Block> {
        let mut block = Block { state: state.into(), ..Block::default() };
        for (number, line) in lines {
            block.line(line).with_context(|| format!("line {number}: {line}"))?;
        }
        Ok(block)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        if let Some(command) = line.strip_prefix("$ ctdb") {
            self.steps.push(Step { line: command.trim_start().into(), ..Step::default() });
            return Ok(());
        }
        let Some(step) = self.steps.last_mut() else { return self.header(line) };
        match line.split_at_checked(1) {
            Some(("<", rest)) => step.input.push(rest.strip_prefix(' ').unwrap_or(rest).into()),
            Some((">", rest)) => push_line(&mut step.output().stdout, rest),
            Some(("!", rest)) => push_line(&mut step.output().stderr, rest),
            Some(("@", rest)) => step.output().notes.push(rest.trim_start().into()),
            _ if line.starts_with("exit ") || line == "killed" => {
                step.output().ending = line.into()
            }
            _ => match line.split_once(": ") {
                Some(("mask", mask)) => step.mask = Some(mask.into()),
                Some(("within", seconds)) => step.within = Some(seconds.parse()?),
                Some(("differs", why)) => step.differs = Some((why.into(), Output::default())),
                _ => bail!("not understood"),
            },
        }
        Ok(())
    }

    fn header(&mut self, line: &str) -> Result<()> {
        if line.starts_with('#') {
            self.comments.push(line.into());
        } else if line == "down" {
            self.down = true;
        } else {
            match line.split_once(": ") {
                Some(("state", name)) => {
                    self.state = name.into();
                    self.names_state = true;
                }
                Some(("fault", fault)) => self.faults.push(fault.into()),
                Some(("env", pair)) => self.env.push(pair.into()),
                Some(("ours", why)) => self.ours_only = Some(why.into()),
                _ => bail!("not understood"),
            }
        }
        Ok(())
    }

    fn write(&self, out: &mut String) {
        for comment in &self.comments {
            let _ = writeln!(out, "{comment}");
        }
        if self.names_state {
            let _ = writeln!(out, "state: {}", self.state);
        }
        if self.down {
            let _ = writeln!(out, "down");
        }
        for fault in &self.faults {
            let _ = writeln!(out, "fault: {fault}");
        }
        for pair in &self.env {
            let _ = writeln!(out, "env: {pair}");
        }
        if let Some(why) = &self.ours_only {
            let _ = writeln!(out, "ours: {why}");
        }
        self.steps.iter().for_each(|step| step.write(out));
    }
}

impl Step {
    /// The output that lines being read belong to.
    fn output(&mut self) -> &mut Output {
        match &mut self.differs {
            Some((_, ours)) => ours,
            None => &mut self.expected,
        }
    }

    /// What our tool has to say.
    pub fn ours(&self) -> &Output {
        self.differs.as_ref().map_or(&self.expected, |(_, ours)| ours)
    }

    fn write(&self, out: &mut String) {
        let _ = writeln!(out, "{}", format!("$ ctdb {}", self.line).trim_end());
        for line in &self.input {
            let _ = writeln!(out, "{}", format!("< {line}").trim_end());
        }
        if let Some(mask) = &self.mask {
            let _ = writeln!(out, "mask: {mask}");
        }
        if let Some(seconds) = self.within {
            let _ = writeln!(out, "within: {seconds}");
        }
        self.expected.write(out);
        if let Some((why, ours)) = &self.differs {
            let _ = writeln!(out, "differs: {why}");
            ours.write(out);
        }
    }

    /// The words of the command: separated by blanks, quoted by `'` or `"` without escapes.
    pub fn words(&self) -> Result<Vec<String>> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut quote = None;
        for c in self.line.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), c) => word.get_or_insert_default().push(c),
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, ' ') => words.extend(word.take()),
                (None, c) => word.get_or_insert_default().push(c),
            }
        }
        if quote.is_some() {
            bail!("a quote is not closed: {}", self.line);
        }
        words.extend(word);
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Head\n\nstate: one\n$ ctdb pnn\n> 0\nexit 0\n\n# why\nfault: PING silent\n\
        env: A=b\n$ ctdb -t 1 ping 'a b' \"\"\n< in\nmask: numbers\nwithin: 3\n>\n> x\n>~no newline\n! err\n\
        @ 1 PING\nexit 110\ndiffers: reason\n> y\nexit 0\n$ ctdb\nexit 1\n";

    #[test]
    fn text_and_back() {
        let file = File::parse(TEXT).unwrap();
        assert_eq!(file.to_text(), TEXT);
        let [first, second] = &file.blocks[..] else { panic!("{file:?}") };
        assert_eq!((first.state.as_str(), second.state.as_str()), ("one", "one"));
        let step = &second.steps[0];
        assert_eq!(step.words().unwrap(), ["-t", "1", "ping", "a b", ""]);
        assert_eq!(step.expected.stdout, "\nx\nno newline");
        assert_eq!(step.ours().stdout, "y\n");
        assert!(File::parse("state: one\n$ ctdb pnn\nwhat is this\n").is_err());
    }
}
