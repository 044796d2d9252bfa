//! Conditions on one argument, reduced to what a program can test.

use oci::runtime::SyscallArg;

use crate::error::Error;

/// What is compared with what. All comparisons are unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// `argument & mask == value`.
    MaskedEqual { mask: u64, value: u64 },
    /// `argument > value`.
    Greater(u64),
    /// `argument >= value`.
    GreaterOrEqual(u64),
}

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Which argument, 0 to 5.
    pub(crate) index: usize,
    /// Only its lower 32 bits count.
    pub(crate) narrow: bool,
    /// The test.
    pub(crate) test: Test,
    /// The condition holds when the test does not.
    pub(crate) negated: bool,
}

impl Condition {
    /// What `arg` of a rule for `call` says.
    pub(crate) fn new(call: &str, arg: &SyscallArg, narrow: bool) -> Result<Self, Error> {
        let index = match arg.index {
            index @ 0..=5 => index as usize,
            index => return Err(Error::ArgumentIndex { call: call.to_owned(), index }),
        };
        let equal = Test::MaskedEqual { mask: u64::MAX, value: arg.value };
        let (test, negated) = match arg.op.as_str() {
            "SCMP_CMP_EQ" => (equal, false),
            "SCMP_CMP_NE" => (equal, true),
            "SCMP_CMP_GT" => (Test::Greater(arg.value), false),
            "SCMP_CMP_LE" => (Test::Greater(arg.value), true),
            "SCMP_CMP_GE" => (Test::GreaterOrEqual(arg.value), false),
            "SCMP_CMP_LT" => (Test::GreaterOrEqual(arg.value), true),
            "SCMP_CMP_MASKED_EQ" => {
                let mask = arg.value;
                // What the mask hides is not compared, as in libseccomp.
                (Test::MaskedEqual { mask, value: arg.value_two.unwrap_or(0) & mask }, false)
            }
            op => return Err(Error::Operator(op.to_owned())),
        };
        Ok(Self { index, narrow, test, negated })
    }

    /// That argument 0, in what `mask` leaves of it, is `value`.
    pub(crate) fn selector(mask: u32, value: u32) -> Self {
        let test = Test::MaskedEqual { mask: mask.into(), value: value.into() };
        Self { index: 0, narrow: true, test, negated: false }
    }
}
