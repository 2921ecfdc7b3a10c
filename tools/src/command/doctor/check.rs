//! One result of one check of the machine.

use serde::Serialize;

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Nothing to do.
    Ok,
    /// Works, but slower or with fewer measurements than it could.
    Warn,
    /// Does not work.
    Fail,
}

/// One fact about the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// Name of the check, for scripts to look for.
    pub(super) topic: &'static str,
    pub(super) state: State,
    pub(super) fact: String,
    /// Command or setting that mends it, where there is one.
    pub(super) remedy: Option<String>,
}

impl Check {
    pub(super) fn ok(topic: &'static str, fact: impl Into<String>) -> Check {
        Check {
            topic,
            state: State::Ok,
            fact: fact.into(),
            remedy: None,
        }
    }

    pub(super) fn warn(
        topic: &'static str,
        fact: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Check {
        Check {
            topic,
            state: State::Warn,
            fact: fact.into(),
            remedy: Some(remedy.into()),
        }
    }

    pub(super) fn fail(
        topic: &'static str,
        fact: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Check {
        Check {
            state: State::Fail,
            ..Check::warn(topic, fact, remedy)
        }
    }
}
