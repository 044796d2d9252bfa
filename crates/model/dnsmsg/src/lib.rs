//! DNS messages: the questions that a container asks, and their answers.
#![forbid(unsafe_code)]
