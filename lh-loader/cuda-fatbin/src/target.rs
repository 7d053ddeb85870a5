//! What devices PTX is for.

/// Does PTX run on a device of this compute capability (90 for 9.0)?
///
/// # Errors
/// What it is for.
pub fn runs_on(ptx: &str, capability: u32) -> Result<(), String> {
    let mut lines = ptx.lines();
    let target = lines.find_map(|l| l.trim_start().strip_prefix(".target"));
    let target = target.and_then(|t| t.split([',', ' ', '\t']).find(|w| !w.is_empty()));
    let target = target.ok_or("a module's PTX names no target")?;
    let number = target.strip_prefix("sm_").unwrap_or(target);
    let digits = number.trim_end_matches(|c: char| !c.is_ascii_digit());
    let wanted: u32 = digits
        .parse()
        .map_err(|_| format!("a module's PTX is for {target}"))?;
    // sm_90a has what no other architecture has.
    let fits = match digits == number {
        true => wanted <= capability,
        false => wanted == capability,
    };
    match fits {
        true => Ok(()),
        false => Err(format!(
            "a module's PTX is for {target}, and the device has compute capability {}.{}",
            capability / 10,
            capability % 10
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptx_runs_on_its_architecture_and_on_later_ones() {
        let of = |target: &str, capability| {
            let text = format!("// x\n.version 7.0\n.target {target}\n");
            runs_on(&text, capability)
        };
        assert_eq!(of("sm_70", 90), Ok(()));
        assert_eq!(of("sm_90, debug", 90), Ok(()));
        assert_eq!(of("sm_90a", 90), Ok(()));
        for (target, capability) in [("sm_90", 86), ("sm_90a", 100), ("sm_100f", 90)] {
            assert!(of(target, capability).unwrap_err().contains(target));
        }
        assert!(runs_on(".version 7.0", 90).is_err());
    }
}
