struct Sizes {
    count: u32,
    first: u32,
    sums_first: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read_write> array_of: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;
var<workgroup> lanes: array<f32, 256>;

// The sum of 4096 squares.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let group = group_id.y * groups.x + group_id.x;
    let start = group * 4096u;
    if start >= sizes.count {
        return;
    }
    var total = 0.0;
    let end = min(start + 4096u, sizes.count);
    for (var i = start + lane; i < end; i += 256u) {
        let x = array_of[sizes.first + i];
        total += x * x;
    }
    lanes[lane] = total;
    workgroupBarrier();
    for (var other = 128u; other > 0u; other >>= 1u) {
        if lane < other {
            lanes[lane] += lanes[lane + other];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        sums[sizes.sums_first + group] = lanes[0];
    }
}
