struct Sizes {
    count: u32,
    first: u32,
    sums_first: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read_write> array_of: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;
var<workgroup> lanes: array<f32, 256>;

// Of 4096 numbers the largest size, and the sum of the squares of their shares of it: two words.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let group = group_id.y * groups.x + group_id.x;
    let start = group * 4096u;
    if start >= sizes.count {
        return;
    }
    let end = min(start + 4096u, sizes.count);
    var largest = 0.0;
    for (var i = start + lane; i < end; i += 256u) {
        largest = max(largest, abs(array_of[sizes.first + i]));
    }
    lanes[lane] = largest;
    workgroupBarrier();
    for (var other = 128u; other > 0u; other >>= 1u) {
        if lane < other {
            lanes[lane] = max(lanes[lane], lanes[lane + other]);
        }
        workgroupBarrier();
    }
    // Shares of a size that is no denormal number; squares of sizes themselves leave the floats at 2e19 and at 1e-23.
    let size = max(lanes[0], 1e-30);
    workgroupBarrier();
    var total = 0.0;
    for (var i = start + lane; i < end; i += 256u) {
        let share = array_of[sizes.first + i] / size;
        total += share * share;
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
        sums[2u * (sizes.sums_first + group)] = size;
        sums[2u * (sizes.sums_first + group) + 1u] = lanes[0];
    }
}
