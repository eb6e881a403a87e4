// SPDX-License-Identifier: GPL-3.0-or-later
//! Comparing output with a golden shape: what varies from run to run is left open.

use anyhow::{bail, Result};

/// Compares `text` with `shape` line by line, with runs of blanks taken as one. In a shape `*`
/// stands for any text and `#` for a decimal number; a line `...` for any number of lines.
pub fn like(text: &str, shape: &str) -> Result<()> {
    let lines: Vec<String> = text.lines().map(squeeze).filter(|l| !l.is_empty()).collect();
    let shapes: Vec<String> = shape.lines().map(squeeze).filter(|l| !l.is_empty()).collect();
    let mut at = 0;
    let mut skipping = false;
    for want in &shapes {
        if want == "..." {
            skipping = true;
            continue;
        }
        let found = lines[at..].iter().position(|line| line_like(line.as_bytes(), want.as_bytes()));
        match found {
            Some(offset) if skipping || offset == 0 => at += offset + 1,
            _ => bail!("no line {want:?} (line {} of the output)\n{text}", at + 1),
        }
        skipping = false;
    }
    if at < lines.len() && !skipping {
        bail!("unexpected line {:?}\n{text}", lines[at]);
    }
    Ok(())
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn line_like(line: &[u8], shape: &[u8]) -> bool {
    match shape.split_first() {
        None => line.is_empty(),
        Some((b'*', rest)) => (0..=line.len()).any(|skip| line_like(&line[skip..], rest)),
        Some((b'#', rest)) => {
            let digits = line.iter().take_while(|b| b.is_ascii_digit()).count();
            digits > 0 && line_like(&line[digits..], rest)
        }
        Some((byte, rest)) => line.first() == Some(byte) && line_like(&line[1..], rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_numbers_and_gaps() {
        let text = "Number of nodes:2\npnn:0 127.0.0.1        OK (THIS NODE)\nGeneration:77\nend\n";
        assert!(like(text, "Number of nodes:#\npnn:0 * OK (THIS NODE)\nGeneration:#\nend").is_ok());
        assert!(like(text, "...\nGeneration:77\n...").is_ok());
        assert!(like(text, "Number of nodes:#\nGeneration:#\nend").is_err());
        assert!(like(text, "Number of nodes:#").is_err());
        assert!(like("Generation:INVALID", "Generation:#").is_err());
        assert!(like("", "x").is_err());
    }
}
