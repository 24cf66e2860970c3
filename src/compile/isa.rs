//! The machine that code is made for: always the host.

use anyhow::{Context as _, Result, anyhow, bail};
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable, SetError};

use cranelift_wasm::RelaxedSimd;

use super::settings::Settings;

/// Cranelift's targets for the host.
pub(super) struct Targets {
    /// For all functions but those that are too large for it.
    pub(super) normal: OwnedTargetIsa,
    /// For those: compiles in time that grows with the size and not with its square.
    pub(super) quick: OwnedTargetIsa,
    /// What relaxed vector operators answer on it.
    pub(super) relaxed_simd: RelaxedSimd,
}

impl Targets {
    /// The targets under these settings.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let normal = [("opt_level", settings.opt_level.flag())];
        let quick = [("opt_level", "none"), ("regalloc_algorithm", "single_pass")];
        let (normal, quick) = (target(settings, &normal)?, target(settings, &quick)?);
        let relaxed_simd = relaxed_simd(settings, &*normal)?;
        Ok(Self { normal, quick, relaxed_simd })
    }
}

fn target(settings: &Settings, own: &[(&str, &str)]) -> Result<OwnedTargetIsa> {
    let mut isa = cranelift_native::builder()
        .map_err(|what| anyhow!("code cannot be generated for this machine: {what}"))?;
    let mut shared = settings::builder();
    let fixed = [
        ("enable_verifier", flag(settings.verifier)),
        ("enable_nan_canonicalization", flag(settings.nan_canonicalization)),
        // The fuel counter lives there between functions.
        ("enable_pinned_reg", flag(settings.metered)),
        // Backtraces and the places of spilled fuel counters are found from frame pointers.
        ("preserve_frame_pointers", "true"),
        // Which registers a frame holds for its caller, a throw must know.
        ("unwind_info", "true"),
        // Functions of many results return them through an area of the caller's.
        ("enable_multi_ret_implicit_sret", "true"),
        // The stack limit is compared in prologues; a frame that could jump over the guard is
        // probed.
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
        ("probestack_size_log2", "12"),
        ("enable_heap_access_spectre_mitigation", "true"),
        ("enable_table_access_spectre_mitigation", "true"),
        // Constants ask for more; where functions start is `placement`'s to say.
        ("log2_min_function_alignment", "2"),
    ];
    for &(name, value) in fixed.iter().chain(own) {
        shared.set(name, value).with_context(|| format!("setting {name}={value}"))?;
    }
    for (name, value) in &settings.flags {
        set(&mut shared, &mut isa, name, value.as_deref())?;
    }
    let isa = isa.finish(settings::Flags::new(shared)).context("choosing the target")?;
    check(isa, settings)
}

fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Sets one of the embedder's flags, which may be a shared one or one of the machine's.
fn set(
    shared: &mut settings::Builder,
    isa: &mut impl Configurable,
    name: &str,
    value: Option<&str>,
) -> Result<()> {
    let on = |target: &mut dyn Configurable| match value {
        Some(value) => target.set(name, value),
        None => target.enable(name),
    };
    let result = match on(shared) {
        Err(SetError::BadName(_)) => on(isa),
        result => result,
    };
    result.with_context(|| format!("Cranelift's setting `{name}`"))
}

/// What relaxed vector operators answer.
///
/// The instructions of x86-64 let NaNs through as they are, which must not be where NaNs are
/// canonical.
fn relaxed_simd(settings: &Settings, isa: &dyn TargetIsa) -> Result<RelaxedSimd> {
    let fused = has(isa, "has_avx") && has(isa, "has_fma");
    let deterministic = settings.relaxed_simd_deterministic;
    if deterministic && settings.features.relaxed_simd() && !fused {
        bail!("this processor lacks FMA, which deterministic relaxed SIMD needs");
    }
    Ok(RelaxedSimd { x86: !deterministic && !settings.nan_canonicalization, fused })
}

/// Refuses a machine for which some operators would need functions that we do not have.
fn check(isa: OwnedTargetIsa, settings: &Settings) -> Result<OwnedTargetIsa> {
    if cfg!(not(target_arch = "x86_64")) {
        bail!("code is generated for x86-64 only, not for {}", isa.triple());
    }
    if !has(&*isa, "has_sse41") {
        bail!("this processor lacks SSE4.1, which rounding of floats needs");
    }
    if settings.features.simd() && !has(&*isa, "has_ssse3") {
        bail!("this processor lacks SSSE3, which SIMD needs (see `Config::wasm_simd`)");
    }
    Ok(isa)
}

/// Whether code may use a feature of the processor.
fn has(isa: &dyn TargetIsa, feature: &str) -> bool {
    let flag = isa.isa_flags().into_iter().find(|flag| flag.name == feature);
    flag.and_then(|flag| flag.as_bool()) == Some(true)
}
