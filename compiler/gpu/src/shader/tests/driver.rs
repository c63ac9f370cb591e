//! Runs the kernels of one step on the first adapter, of what the reference is given too.

use align_compiler::interp::{Named, Precision};
use align_compiler::kernel::{BufferKind, Program, reference};
use align_compiler::tensor::{DType, Lengths};
use wgpu::util::DeviceExt;

use crate::shader::{Bind, Bound, Context, Field, Form, Kernels};

pub struct Driver {
    device: wgpu::Device,
    queue: wgpu::Queue,
}

impl Driver {
    pub fn new() -> Driver {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::VULKAN;
        let instance = wgpu::Instance::new(descriptor);
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
        let adapter = adapters.into_iter().next().expect("an adapter: a driver is installed");
        let descriptor =
            wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..wgpu::DeviceDescriptor::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
        Driver { device, queue }
    }

    fn memory(&self, words: &[u32]) -> wgpu::Buffer {
        let contents = if words.is_empty() { &[0; 4] } else { words };
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: None,
            contents: bytemuck::cast_slice(contents),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_SRC,
        })
    }

    /// All buffers after the kernels, and the faults. `before`: what a word of an output holds.
    fn run(
        &self,
        program: &Program,
        bound: &[Bound],
        (given, lengths): (&Named, &Lengths),
        kernels: &Kernels,
        before: f32,
    ) -> (Vec<Vec<u32>>, Vec<i32>) {
        let words = |i: usize| -> Vec<u32> {
            let buffer = &program.buffers[i];
            let BufferKind::Input(name) = &buffer.kind else {
                return vec![before.to_bits(); buffer.size().get(lengths)];
            };
            let data = &given[name].data;
            match bound[i].form {
                Form::F32 => data.iter().map(|x| (*x as f32).to_bits()).collect(),
                Form::Bf16 => {
                    let half = |x: &f64| (*x as f32).to_bits() >> 16;
                    data.chunks(2).map(|two| half(&two[0]) | two.get(1).map_or(0, half) << 16).collect()
                }
                _ => data.iter().map(|x| *x as i32 as u32).collect(),
            }
        };
        let buffers: Vec<wgpu::Buffer> = (0..program.buffers.len()).map(|i| self.memory(&words(i))).collect();
        // What they hold at first means nothing.
        let scratch: Vec<wgpu::Buffer> =
            kernels.scratch.iter().map(|words| self.memory(&vec![0x7fc0_1234; words.get(lengths)])).collect();
        let faults = self.memory(&vec![i32::MAX as u32; kernels.sites.len()]);
        for kernel in &kernels.kernels {
            let sizes: Vec<u32> = (kernel.fields.iter())
                .map(|field| match field {
                    Field::Axis(axis) => lengths.size(axis) as u32,
                    Field::First(_) | Field::Fault => 0,
                })
                .collect();
            let sizes = (!sizes.is_empty()).then(|| self.memory(&sizes));
            let source = wgpu::ShaderSource::Wgsl(kernel.shader.text.as_str().into());
            let descriptor = wgpu::ShaderModuleDescriptor { label: None, source };
            let module = self.device.create_shader_module(descriptor);
            let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: Default::default(),
                cache: None,
            });
            let tables: Vec<wgpu::Buffer> = (kernel.bindings.iter())
                .map(|bind| match bind {
                    Bind::Table(axis, kind) => {
                        self.memory(&lengths.table(axis, *kind).iter().map(|x| *x as u32).collect::<Vec<_>>())
                    }
                    _ => self.memory(&[]),
                })
                .collect();
            let of = |(i, bind): (usize, &Bind)| match bind {
                Bind::Buffer(id) => buffers[id.0 as usize].clone(),
                Bind::Scratch(number) => scratch[*number].clone(),
                Bind::Faults => faults.clone(),
                Bind::Table(..) => tables[i].clone(),
            };
            let bindings: Vec<wgpu::Buffer> = kernel.bindings.iter().enumerate().map(of).collect();
            let numbered = sizes.iter().map(|b| (0, b)).chain(bindings.iter().enumerate().map(|(i, b)| (i + 1, b)));
            let entries: Vec<wgpu::BindGroupEntry> = numbered
                .map(|(i, buffer)| wgpu::BindGroupEntry { binding: i as u32, resource: buffer.as_entire_binding() })
                .collect();
            let layout = pipeline.get_bind_group_layout(0);
            let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &layout,
                entries: &entries,
            });
            let mut encoder = self.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &group, &[]);
                // In two dimensions, with more than there are.
                let groups = kernel.grid.groups(lengths) as u32;
                pass.dispatch_workgroups(groups.min(5), groups.div_ceil(5), 1);
            }
            self.queue.submit([encoder.finish()]);
        }
        let read = |buffer: &wgpu::Buffer| -> Vec<u32> {
            let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: buffer.size(),
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            });
            let mut encoder = self.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
            self.queue.submit([encoder.finish()]);
            staging.slice(..).map_async(wgpu::MapMode::Read, |r| r.expect("it maps"));
            self.device.poll(wgpu::PollType::wait_indefinitely()).expect("it ends");
            let view = staging.slice(..).get_mapped_range().expect("it is mapped");
            bytemuck::cast_slice(&view).to_vec()
        };
        let faults = read(&faults).into_iter().map(|x| x as i32).collect();
        (buffers.iter().map(read).collect(), faults)
    }

    /// The kernels of the program's only step give what the reference gives, but for so much of the largest number.
    pub fn check(
        &self,
        program: &Program,
        bound: &[Bound],
        (given, lengths): (&Named, &Lengths),
        variant: crate::shader::Variant,
        tolerance: f64,
    ) {
        let kernels = crate::shader::kernels(Context { program, bound }, &program.steps[0], variant).expect("kernels");
        let before = if bound.iter().any(|b| b.add) { 0.5 } else { f32::NAN };
        let want = reference::run(program, given, lengths, Precision::F64).unwrap_or_else(|e| panic!("{e}"));
        let (found, faults) = self.run(program, bound, (given, lengths), &kernels, before);
        assert!(faults.iter().take(kernels.sites.len()).all(|f| *f == i32::MAX), "{faults:?}");
        for (name, want) in want {
            let id = program.named_output(&name).expect("an output").0 as usize;
            let most = want.data.iter().fold(0f64, |most, x| most.max(x.abs()));
            for (i, (want, found)) in want.data.iter().zip(&found[id]).enumerate() {
                let (found, want) = match program.buffers[id].dtype {
                    DType::Float if bound[id].add => (f64::from(f32::from_bits(*found)), want + 0.5),
                    DType::Float => (f64::from(f32::from_bits(*found)), *want),
                    _ => (f64::from(*found as i32), *want),
                };
                let close = (want - found).abs() <= tolerance * (1e-3 + most) || (want.is_nan() && found.is_nan());
                assert!(close, "{name} at {i}: {found}, not {want} ({most})\n{program}");
            }
        }
    }

    /// The faults that the kernels of the program's only step find.
    pub fn faults(
        &self,
        program: &Program,
        bound: &[Bound],
        given: (&Named, &Lengths),
        variant: crate::shader::Variant,
    ) -> Vec<i32> {
        let kernels = crate::shader::kernels(Context { program, bound }, &program.steps[0], variant).expect("kernels");
        self.run(program, bound, given, &kernels, 0.0).1[..kernels.sites.len()].to_vec()
    }
}
