//! `lampwick compile`.

use crate::support::{MODULE, Workplace};

#[test]
fn the_artifact_lies_beside_the_module_unless_told_otherwise() {
    let place = Workplace::new().with("m.wat", MODULE);
    assert_eq!(place.run(&["compile", "m.wat"]).succeeded(), "");
    place.run(&["compile", "m.wat", "--output", "other.bin"]).succeeded();
    let read = |name| std::fs::read(place.path(name)).unwrap();
    assert!(read("m.lampwick").starts_with(b"\x7fELF"));
    assert_eq!(read("m.lampwick"), read("other.bin"));
    let files = std::fs::read_dir(place.dir()).unwrap().count();
    assert_eq!(files, 3, "something was left behind");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let place = Workplace::new().with("m.wat", MODULE);
    place
        .run(&["compile", "m.wat", "-o", "gone/m.lampwick"])
        .failed(2, &["cannot write `gone/m.lampwick`", "No such file"]);
}

#[test]
fn an_artifact_never_has_the_name_of_a_module() {
    let place = Workplace::new().with("m.wat", MODULE);
    let words = ["is named as a module", "hint:", ".lampwick"];
    place.run(&["compile", "m.wat", "-o", "m.wasm"]).failed(2, &words);
    assert!(!place.path("m.wasm").exists());
    // Nor is one taken that somebody gave such a name, so that it seems harmless.
    place.run(&["compile", "m.wat"]).succeeded();
    std::fs::rename(place.path("m.lampwick"), place.path("evil.WASM")).unwrap();
    place.run(&["inspect", "evil.WASM"]).failed(2, &words);
}

#[test]
fn what_is_compiled_is_not_compiled_again() {
    let place = Workplace::new().with("m.wat", MODULE);
    place.run(&["compile", "m.wat"]).succeeded();
    place.run(&["compile", "m.lampwick", "-o", "n.lampwick"]).failed(2, &["compiled already"]);
}
