//! Containers: their state machine, intents and recovery.
#![forbid(unsafe_code)]
