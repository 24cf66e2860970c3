//! The name section: it only helps those who read backtraces, so that errors in it are ignored.

use wasmparser::{Name, NameSectionReader};

use crate::compile::info::ModuleInfo;

/// Takes over what the section says, up to its first error.
pub(super) fn read(info: &mut ModuleInfo, section: NameSectionReader<'_>) {
    for subsection in section {
        match subsection {
            Ok(Name::Module { name, .. }) => info.name = Some(name.to_owned()),
            Ok(Name::Function(names)) => {
                for naming in names {
                    let Ok(naming) = naming else { break };
                    info.function_names.push((naming.index, naming.name.to_owned()));
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    // A stable sort: of two names for one function the first counts.
    info.function_names.sort_by_key(|&(index, _)| index);
    info.function_names.dedup_by_key(|&mut (index, _)| index);
}
