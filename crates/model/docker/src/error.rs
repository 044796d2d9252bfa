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
