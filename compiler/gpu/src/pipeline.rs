//! Shaders as pipelines, one for all steps of equal text.

use std::sync::{Arc, PoisonError};

use align_compiler::kernel::Fault;

use crate::device::Device;
use crate::shader::{Kernel, Shader};

pub struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

impl Device {
    /// The pipeline of a shader with so many storage bindings behind its sizes.
    pub fn pipeline(&self, shader: &Shader, sizes: bool, bindings: usize) -> Result<Arc<Pipeline>, Fault> {
        let mut known = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = known.get(&shader.key) {
            return Ok(pipeline.clone());
        }
        let most = self.limits.max_storage_buffers_per_shader_stage as usize;
        if bindings > most {
            let what = format!(
                "a kernel uses {} buffers, the device allows {most} ({}); it begins {}",
                bindings,
                self.about.name,
                shader.text.lines().find(|l| l.starts_with("//")).unwrap_or_default()
            );
            return Err(Fault::Device { what });
        }
        let made = Arc::new(self.make(shader, sizes, bindings));
        if let Some(fault) = self.trouble() {
            return Err(fault);
        }
        known.insert(shader.key.clone(), made.clone());
        Ok(made)
    }

    /// Kernels with their pipelines.
    pub fn pipelines_of(&self, kernels: Vec<Kernel>) -> Result<Vec<(Kernel, Arc<Pipeline>)>, Fault> {
        let with = |kernel: Kernel| {
            let pipeline = self.pipeline(&kernel.shader, !kernel.fields.is_empty(), kernel.bindings.len())?;
            Ok((kernel, pipeline))
        };
        kernels.into_iter().map(with).collect()
    }

    fn make(&self, shader: &Shader, sizes: bool, bindings: usize) -> Pipeline {
        let entry = |binding: usize, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let sizes = sizes.then(|| entry(0, wgpu::BufferBindingType::Uniform));
        let storage = (1..=bindings).map(|i| entry(i, wgpu::BufferBindingType::Storage { read_only: false }));
        let entries: Vec<_> = sizes.into_iter().chain(storage).collect();
        let layout =
            self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let source = wgpu::ShaderSource::Wgsl(shader.text.as_str().into());
        let descriptor = wgpu::ShaderModuleDescriptor { label: None, source };
        // Bounds checks cost up to 40 % of a product, and a bound on loops keeps drivers from unrolling them. Kernels keep to
        // their buffers: indices that are worked out are checked where they are (`checked`), and all loops end.
        let checks = wgpu::ShaderRuntimeChecks::unchecked();
        // SAFETY: as said above.
        let module = unsafe { self.device.create_shader_module_trusted(descriptor, checks) };
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            // Workgroup memory is written before it is read.
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}
