//! Programs that a check of types lets through, and whose stages are wrong.

use super::*;
use align_syntax::diag::Severity;
use align_syntax::expect::check_folder;

#[test]
fn wrong_stages_say_what_is_wrong() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/bad/stages");
    check_folder(&folder, |path, text| {
        let name = path.file_name().map(|n| n.to_string_lossy().to_string()).unwrap_or_default();
        let world = Memory::default();
        let (program, mut diagnostics) = load(&name, text, &world);
        diagnostics.extend(crate::check::check(&program).diagnostics);
        let wrong = |d: &Diagnostic| d.severity == Severity::Error;
        if !diagnostics.iter().any(wrong) {
            diagnostics.extend(build(&program, &BuildOptions::default(), &world).err().unwrap_or_default());
        }
        diagnostics.retain(wrong);
        diagnostics.sort_by_key(|d| d.span());
        (program.main(), diagnostics)
    });
}
