//! Programs that cannot be read: each says what is wrong with it, in the form of [`align_syntax::expect`].

use align_syntax::expect::check_folder;
use align_syntax::parse;
use align_syntax::span::FileId;
use std::path::Path;

#[test]
fn wrong_programs_say_what_is_wrong() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/bad/syntax");
    check_folder(&folder, |_, text| (FileId(0), parse(FileId(0), text).diagnostics));
}
