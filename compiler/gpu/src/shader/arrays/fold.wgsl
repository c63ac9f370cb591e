struct Sizes {
    count: u32,
    first: u32,
    carry_first: u32,
    // 0, which no compiler knows.
    zero: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read_write> array_of: array<f32>;
@group(0) @binding(2) var<storage, read_write> carry: array<f32>;

// A step of a compensated sum (W. Kahan, 1965): what is rounded away stays in the carry.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group_id.y * groups.x + group_id.x) * 256u + lane;
    if i < sizes.count {
        let before = array_of[sizes.first + i];
        let term = carry[sizes.carry_first + i];
        // Drivers take a + b - a for b, as WGSL lets them; not so with bits that they do not know.
        let next = bitcast<f32>(bitcast<u32>(before + term) ^ sizes.zero);
        carry[sizes.carry_first + i] = term - (next - before);
        array_of[sizes.first + i] = next;
    }
}
