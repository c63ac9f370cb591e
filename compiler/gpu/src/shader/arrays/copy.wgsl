struct Sizes {
    count: u32,
    first: u32,
    from_first: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read_write> array_of: array<f32>;
@group(0) @binding(2) var<storage, read_write> from_array: array<f32>;

// Entries of another array.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group_id.y * groups.x + group_id.x) * 256u + lane;
    if i < sizes.count {
        array_of[sizes.first + i] = from_array[sizes.from_first + i];
    }
}
