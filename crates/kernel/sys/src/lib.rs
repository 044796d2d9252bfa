//! The system calls that rustix lacks: the only unsafe code.
