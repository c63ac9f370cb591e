struct Sizes {
    count: u32,
    first: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read_write> array_of: array<f32>;

// All entries times a factor.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group_id.y * groups.x + group_id.x) * 256u + lane;
    if i < sizes.count {
        array_of[sizes.first + i] *= sizes.factor;
    }
}
