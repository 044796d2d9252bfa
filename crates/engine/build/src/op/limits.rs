//! What a program of a build may use of the machine.

use buildgraph::Limits;
use docker::container::Resources;

/// The period of a quota where nobody says one, in microseconds.
const PERIOD: i64 = 100_000;

/// Puts what is said of one program over what is said of all of them (`all`), but widens nothing: the one is said by
/// whatever front end a Dockerfile names, the other by whoever builds with it.
pub(super) fn narrow(all: &mut Resources, own: &Limits) {
    memory(all, own);
    processors(all, own);
    if own.cpu_shares > 0 {
        all.cpu_shares = lower(all.cpu_shares, own.cpu_shares);
    }
    for (place, text) in
        [(&mut all.cpuset_cpus, &own.cpuset_cpus), (&mut all.cpuset_mems, &own.cpuset_mems)]
    {
        if place.is_empty() {
            place.clone_from(text);
        }
    }
}

/// The lower one of two limits; what is not above 0 is none.
fn lower(all: i64, own: i64) -> i64 {
    if all > 0 { all.min(own) } else { own }
}

fn memory(all: &mut Resources, own: &Limits) {
    // Where only memory has a limit, there is as much of swap.
    let most_swap = match all.memory_swap {
        0 => all.memory.saturating_mul(2),
        swap => swap,
    };
    if own.memory > 0 {
        all.memory = lower(all.memory, own.memory);
    }
    match own.memory_swap {
        0 => {}
        // As much as there may be.
        -1 if most_swap > 0 => all.memory_swap = most_swap,
        swap => all.memory_swap = lower(most_swap, swap),
    }
}

/// Of two quotas the one counts that is the smaller part of its period.
fn processors(all: &mut Resources, own: &Limits) {
    let period = |period: i64| if period > 0 { period } else { PERIOD };
    if all.cpu_quota > 0 {
        let own_period = if own.cpu_period > 0 { own.cpu_period } else { all.cpu_period };
        let ours = i128::from(own.cpu_quota) * i128::from(period(all.cpu_period));
        let most = i128::from(all.cpu_quota) * i128::from(period(own_period));
        // Another period alone would make another part of it.
        if own.cpu_quota <= 0 || ours > most {
            return;
        }
    }
    if own.cpu_quota > 0 {
        all.cpu_quota = own.cpu_quota;
    }
    if own.cpu_period > 0 {
        all.cpu_period = own.cpu_period;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(mut all: Resources, own: &Limits) -> Resources {
        narrow(&mut all, own);
        all
    }

    #[test]
    fn what_is_said_of_one_program_counts_where_nothing_else_is_said() {
        let own = Limits {
            memory: 1 << 26,
            memory_swap: -1,
            cpu_shares: 7,
            cpu_period: 50_000,
            cpu_quota: 5_000,
            cpuset_cpus: "0".into(),
            cpuset_mems: "1".into(),
        };
        let want = Resources {
            memory: 1 << 26,
            memory_swap: -1,
            cpu_shares: 7,
            cpu_period: 50_000,
            cpu_quota: 5_000,
            cpuset_cpus: "0".into(),
            cpuset_mems: "1".into(),
            ..Resources::default()
        };
        assert_eq!(narrowed(Resources::default(), &own), want);
        assert_eq!(narrowed(want.clone(), &Limits::default()), want);
    }

    #[test]
    fn no_limit_of_the_build_is_widened() {
        let all = Resources {
            memory: 1 << 26,
            cpu_shares: 7,
            cpu_quota: 50_000,
            cpuset_cpus: "0".into(),
            ..Resources::default()
        };
        let wide = Limits {
            memory: 1 << 40,
            memory_swap: -1,
            cpu_shares: 1 << 18,
            cpu_quota: 150_000,
            cpu_period: 200_000,
            cpuset_cpus: "0-7".into(),
            ..Limits::default()
        };
        let want = Resources { memory_swap: 1 << 27, ..all.clone() };
        assert_eq!(narrowed(all.clone(), &wide), want);
        let short = Limits { cpu_period: 1_000, ..Limits::default() };
        assert_eq!(narrowed(all.clone(), &short), all, "a quota of 50 processors");
        let low = Limits {
            memory: 1 << 25,
            memory_swap: 1 << 26,
            cpu_quota: 20_000,
            cpu_period: 200_000,
            ..Limits::default()
        };
        let want = Resources {
            memory: 1 << 25,
            memory_swap: 1 << 26,
            cpu_quota: 20_000,
            cpu_period: 200_000,
            ..all.clone()
        };
        assert_eq!(narrowed(all, &low), want);
    }
}
