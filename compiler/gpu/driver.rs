// Whether a driver of a graphics device is installed. Part of the build scripts of crates whose tests need one: where there is
// none, these tests are ignored by name instead of passed.

/// Sets the cfg `no_gpu` where a program would find no device.
fn say_whether_there_is_a_gpu() {
    println!("cargo::rustc-check-cfg=cfg(no_gpu)");
    // Drivers of Metal and DirectX 12 come with the system; those of Vulkan say in a file where they are.
    if !std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        return;
    }
    const FOLDERS: [&str; 4] =
        ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/etc/vulkan/icd.d"];
    let of_system = FOLDERS.iter().any(|folder| {
        println!("cargo::rerun-if-changed={folder}");
        std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some())
    });
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"].iter().any(|variable| {
        println!("cargo::rerun-if-env-changed={variable}");
        std::env::var_os(variable).is_some()
    });
    if !of_system && !named {
        println!("cargo::rustc-cfg=no_gpu");
    }
}
