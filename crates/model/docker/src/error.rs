//! Answers that every resource shares.

wire! {
    /// What every error's body is.
    pub struct ErrorResponse {
        /// One line for people.
        #[serde(rename = "message")]
        pub message: String,
    }

    /// Something was made.
    pub struct IdResponse {
        /// Its id.
        pub id: String,
    }
}

/// An error and all that it comes from as one line: what [`ErrorResponse`] and a person get.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(": ");
        line.push_str(&error.to_string());
        source = error.source();
    }
    line
}
