//! QuickJS-ng, which runs scripts.

use super::{Program, fuel, script};
use crate::support::{Ran, Workplace};

static QUICKJS: Program = Program::new("quickjs");

/// Evaluates a line.
fn line(options: &[&str], text: &str) -> Ran {
    QUICKJS.run_with(&Workplace::new(), options, &["-e", text])
}

#[test]
fn the_language_is_what_it_is_elsewhere() {
    let scripts = [script!("features.js"), script!("shapes.js")];
    for slice in ["1000000", "5003"] {
        let place = Workplace::new().with_scripts(&scripts);
        let options = ["--dir", ".", "--slice", slice];
        let ran = QUICKJS.run_with(&place, &options, &["--std", "-m", "features.js"]);
        assert_eq!(ran.stdout, include_str!("features.js.out"), "slices of {slice}: {ran:?}");
        // The script exits with what its module counts.
        assert_eq!((ran.code, &*ran.stderr), (Some(42), ""));
    }
}

#[test]
fn results_and_fuel_do_not_depend_on_slices() {
    // The primes below 20,000, and the last digits of their product.
    let text = "const none = new Uint8Array(20000); let count = 0, product = 1n;
        for (let i = 2; i < none.length; i++) {
            if (none[i]) continue;
            count++; product = product * BigInt(i) % 1000003n;
            for (let j = i * i; j < none.length; j += i) none[j] = 1;
        }
        console.log(count, String(product));";
    let burned = ["10000000", "20011"].map(|slice| {
        let ran = line(&["--report", "--slice", slice], text);
        let burned = fuel(&ran);
        assert_eq!(ran.succeeded(), "2262 293150\n");
        burned
    });
    assert!(burned[0] > 5_000_000 && burned[0] == burned[1], "{burned:?}");
}

#[test]
fn errors_are_its_own() {
    line(&[], "throw new TypeError('no')")
        .failed(1, &["TypeError: no\n", "at <anonymous> (<cmdline>:1:"]);
    line(&[], "let x = ;").failed(1, &["SyntaxError: unexpected token"]);
    line(&[], "Promise.reject(new Error('later'))").failed(1, &["later"]);
    QUICKJS.run(&Workplace::new(), &["none.js"]).failed(1, &["none.js"]);
    let place = Workplace::new().with("m.mjs", "import './gone.js'; console.log('never')");
    QUICKJS.run(&place, &["m.mjs"]).failed(1, &["gone.js"]);
    let text = "let kept = []; try { for (;;) kept.push(new Uint8Array(1 << 20)); }
        catch (e) { kept = null; console.log(e.name, e.message); }";
    let ran = line(&["--max-memory", "32MiB"], text);
    assert_eq!(ran.succeeded(), "InternalError out of memory\n");
}

/// Built for WASI it does not look how deep it is: the machine does.
#[test]
fn what_it_does_not_bound_the_command_does() {
    let text = "const deep = () => 1 + deep(); try { deep(); } finally { console.log('never'); }";
    let ran = line(&[], text);
    assert_eq!((ran.code, &*ran.stdout), (Some(134), ""), "{ran:?}");
    let text = "for (;;) { try { for (;;); } finally { console.log('never'); } }";
    line(&["--fuel", "20000000"], text).failed(134, &["all fuel consumed"]);
    // Catastrophic backtracking of a regular expression.
    let text = "/^(a+)+$/.test('a'.repeat(40) + 'b')";
    line(&["--fuel", "100000000"], text).failed(134, &["all fuel consumed"]);
}
