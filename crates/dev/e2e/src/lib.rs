//! dhow from the outside: see `tests/e2e`, where every test runs the program, as a person would.
#![forbid(unsafe_code)]
