include!("../compiler/gpu/driver.rs");

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../compiler/gpu/driver.rs");
    say_whether_there_is_a_gpu();
}
