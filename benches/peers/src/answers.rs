//! Every engine is to answer every question alike.

use std::collections::BTreeMap;

use crate::Outcome;
use crate::child::Findings;
use crate::engines::Name;

/// The first answer to each question at each stage of the run, and who gave it.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    first: BTreeMap<(String, String), (Name, String)>,
    compared: usize,
}

impl Answers {
    /// Holds answers against those that another engine gave at the same stage.
    pub(crate) fn hold(&mut self, stage: &str, name: Name, findings: &Findings) -> Outcome {
        for (question, digest) in &findings.answers {
            let key = (stage.to_owned(), question.clone());
            let (other, first) = self.first.entry(key).or_insert((name, digest.clone()));
            if first != digest {
                let (other, name) = (other.text(), name.text());
                return Err(format!(
                    "{question}, {stage}: {other} answers {first}, but {name} {digest}"
                )
                .into());
            }
            self.compared += usize::from(*other != name);
        }
        Ok(())
    }

    /// What there is to say of them, when none differed.
    pub(crate) fn verdict(&self) -> String {
        match self.compared {
            0 => "no other engine to compare with".to_owned(),
            sets => format!("alike in all engines: {sets} sets of answers compared"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Findings {
        let mut findings = Findings::default();
        findings.answers.insert("trace".to_owned(), text.to_owned());
        findings
    }

    #[test]
    fn an_answer_that_differs_fails_the_run() {
        let mut answers = Answers::default();
        answers.hold("open", Name::Runledger, &answer("9 parts")).unwrap();
        answers.hold("open", Name::Runledger, &answer("9 parts")).unwrap();
        answers.hold("killed", Name::Floor, &answer("10 parts")).unwrap();
        let err = answers.hold("open", Name::Floor, &answer("8 parts")).unwrap_err();
        assert_eq!(err.to_string(), "trace, open: runledger answers 9 parts, but floor 8 parts");
    }
}
