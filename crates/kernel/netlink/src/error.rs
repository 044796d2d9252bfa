use rustix::io::Errno;

/// Why the kernel did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It refused, or could not.
    #[error("{doing}{}", in_its_words(text.as_deref()))]
    Refused {
        /// What was asked, and of what: `add address 172.18.0.2/16 to eth0`.
        doing: String,
        /// What the kernel had to say about it.
        text: Option<String>,
        /// The errno.
        source: Errno,
    },
    /// Its answer makes no sense.
    #[error("{doing}")]
    Answer {
        /// What was asked.
        doing: String,
        /// What is wrong with it.
        source: nlmsg::Malformed,
    },
    /// Something in the request is too long to be written down.
    #[error("{doing}")]
    TooLong {
        /// What was to be asked.
        doing: String,
        /// Which limit.
        source: nlmsg::TooLong,
    },
    /// The thread entered another network namespace, and could not come back.
    #[error("return to the first network namespace: this thread is lost")]
    Stranded {
        /// The errno.
        source: Errno,
    },
}

impl Error {
    pub(crate) fn refused(doing: impl Into<String>, source: Errno) -> Self {
        Self::Refused { doing: doing.into(), text: None, source }
    }

    /// The kernel's errno, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { source, .. } | Self::Stranded { source } => Some(*source),
            Self::Answer { .. } | Self::TooLong { .. } => None,
        }
    }
}

fn in_its_words(text: Option<&str>) -> String {
    text.map(|text| format!(" ({})", text.trim_end_matches('.'))).unwrap_or_default()
}
