//! Docker's profiles as text: any that parses is resolved and compiled, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seccomp::reference::{Call, evaluate, run};
use seccomp::{Arch, Profile, compile, resolve};

fuzz_target!(|text: &str| {
    let Ok(profile) = Profile::parse(text) else { return };
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let caps = ["CAP_SYS_ADMIN".to_owned()];
        let Ok(resolved) = resolve(profile.clone(), &caps, arch, (6, 1)) else { return };
        let Ok(program) = compile(&resolved, arch) else { continue };
        assert!(program.len() <= 4096);
        for number in 0..512 {
            let call = Call { arch, number, args: [1, 2, 3, 4, 5, 6] };
            assert_eq!(run(&program, &call), Some(evaluate(&resolved, arch, &call)), "{call:x?}");
        }
    }
});
