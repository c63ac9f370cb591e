//! Graphics adapters, and a device opened on one of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use align_compiler::kernel::Fault;

use crate::pipeline::Pipeline;
use crate::record::Space;
use crate::times::Timing;
use crate::tune::Tuner;
use crate::unit::On;

/// How long the host waits for what a device has finished.
const TOLD: Duration = Duration::from_secs(30);

/// What an adapter says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    pub name: String,
    /// `vulkan`, `metal`, `dx12`.
    pub back_end: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    pub driver: String,
    /// Bytes of memory: its own, or what it shares with the host.
    pub memory: u64,
    /// Bytes of the largest tensor that a kernel can read.
    pub binding: u64,
    /// Bytes of the largest buffer.
    pub buffer: u64,
    /// Numbers in f16 can be worked with.
    pub f16: bool,
    /// Sides and types of the matrices that it multiplies at once, such as `16x16x16 f16 f32`.
    pub matrices: Vec<String>,
    /// Kernels can be timed.
    pub times: bool,
}

/// Why no device could be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// No adapter is there: no driver is installed, or no device.
    Nothing,
    /// So many adapters are there, and this one is not among them.
    NoSuch { number: usize, count: usize },
    /// The driver refuses.
    Refused { name: String, why: String },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Nothing => write!(f, "no GPU is found"),
            OpenError::NoSuch { number, count } => write!(f, "there is no gpu:{number}: the last is gpu:{}", count - 1),
            OpenError::Refused { name, why } => write!(f, "{name} cannot be used: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// A device, and what is made once on it.
pub struct Device {
    pub about: About,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub limits: wgpu::Limits,
    /// Bytes of a buffer of temporaries at most.
    pub page: u64,
    /// By the neutral text of the shader.
    pub pipelines: Mutex<HashMap<String, Arc<Pipeline>>>,
    /// How kernels are timed.
    pub timing: Timing,
    tuner: OnceLock<Tuner>,
    /// Memory of passes over arrays.
    passes: Mutex<Space>,
    /// What went wrong since it was last asked for.
    trouble: Arc<Mutex<Option<String>>>,
}

/// What helps where a device is too small.
pub const LESS: &str = "fewer rows or tokens a step, fewer weights that are trained, or `--device cpu` need less of it";

/// Pages of temporaries are multiples of so many bytes.
const ALIGN: u64 = crate::unit::ALIGN as u64;

/// Adapters that kernels can run on, those that are likely to be fast first.
fn adapters() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let mut all = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let rank = |adapter: &wgpu::Adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    all.sort_by_key(rank);
    all
}

fn about(adapter: &wgpu::Adapter) -> About {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    };
    let matrices = adapter
        .cooperative_matrix_properties()
        .into_iter()
        .map(|p| format!("{}x{}x{} {:?} {:?}", p.m_size, p.n_size, p.k_size, p.ab_type, p.cr_type).to_lowercase());
    About {
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        memory: memory(adapter).unwrap_or(limits.max_buffer_size),
        back_end: info.backend.to_string(),
        name: info.name,
        kind,
        binding: limits.max_storage_buffer_binding_size,
        buffer: limits.max_buffer_size,
        f16: features.contains(wgpu::Features::SHADER_F16),
        matrices: matrices.collect(),
        times: features.contains(wgpu::Features::TIMESTAMP_QUERY),
    }
}

/// Bytes of the largest heap of memory that is the device's own, where its driver says it.
#[cfg(not(target_vendor = "apple"))]
fn memory(adapter: &wgpu::Adapter) -> Option<u64> {
    /// `VK_MEMORY_HEAP_DEVICE_LOCAL_BIT`
    const OWN: u32 = 1;
    // SAFETY: the adapter outlives what is asked of it, and nothing of it is changed.
    unsafe {
        let own = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = own.shared_instance().raw_instance();
        let found = instance.get_physical_device_memory_properties(own.raw_physical_device());
        let heaps = &found.memory_heaps[..found.memory_heap_count as usize];
        heaps.iter().filter(|heap| heap.flags.as_raw() & OWN != 0).map(|heap| heap.size).max()
    }
}

/// Metal's devices share the host's memory; its driver says how much of it a buffer may take.
#[cfg(target_vendor = "apple")]
fn memory(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
}

/// All adapters, in the order of their numbers.
pub fn list() -> Vec<About> {
    adapters().iter().map(about).collect()
}

impl Device {
    /// Opens the adapter of this number, or the first.
    pub fn open(number: Option<usize>) -> Result<Device, OpenError> {
        let mut all = adapters();
        let (at, count) = (number.unwrap_or(0), all.len());
        if count == 0 {
            return Err(OpenError::Nothing);
        }
        if at >= count {
            return Err(OpenError::NoSuch { number: at, count });
        }
        let adapter = all.swap_remove(at);
        let about = about(&adapter);
        let wanted = wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
            | wgpu::Features::SHADER_I16;
        // What is not asked for is as small as the web allows.
        let limits = adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            required_features: adapter.features() & wanted,
            required_limits: limits.clone(),
            ..wgpu::DeviceDescriptor::default()
        };
        let refused = |why: String| OpenError::Refused { name: about.name.clone(), why };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| refused(error.to_string()))?;
        let trouble = Arc::new(Mutex::new(None));
        let (errors, lost) = (trouble.clone(), trouble.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| keep(&errors, said(error))));
        device.set_device_lost_callback(move |reason, text| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                keep(&lost, format!("the device was lost: {text}"));
            }
        });
        Ok(Device {
            timing: Timing::of(device.features()),
            page: limits.max_buffer_size / ALIGN * ALIGN,
            about,
            device,
            queue,
            limits,
            pipelines: Mutex::default(),
            tuner: OnceLock::new(),
            passes: Mutex::default(),
            trouble,
        })
    }

    /// Something went wrong that the next run tells.
    pub fn keep(&self, what: String) {
        keep(&self.trouble, what);
    }

    /// What programs must know of it.
    pub fn on(&self) -> On {
        On { halves: self.halves(), page: self.page as usize, tunes: self.tuner().is_some() }
    }

    /// Whether it has numbers of 16 bits, in which bf16 lies as it is.
    pub fn halves(&self) -> bool {
        self.device.features().contains(wgpu::Features::SHADER_I16)
    }

    /// The first thing that went wrong since this was last asked.
    pub fn trouble(&self) -> Option<Fault> {
        let what = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        what.map(|what| Fault::Device { what: format!("{what} ({})", self.about.name) })
    }

    /// From now on programs that are compiled may run candidates of their steps.
    pub fn tune(&self, tuner: Tuner) {
        // Who asks first decides.
        let _ = self.tuner.set(tuner);
    }

    pub fn tuner(&self) -> Option<&Tuner> {
        self.tuner.get()
    }

    /// What a pass over arrays works with; nothing that an earlier one bound is held.
    pub fn passes(&self) -> MutexGuard<'_, Space> {
        let mut space = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        space.clear();
        space.forget();
        space
    }

    /// A buffer of so many bytes, or why there can be none.
    pub fn buffer(&self, what: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Arc<wgpu::Buffer>, Fault> {
        let bytes = bytes.max(256).next_multiple_of(4);
        let most = self.limits.max_buffer_size;
        if bytes > most {
            let what = format!("{what} need {bytes} bytes, a buffer has at most {most} ({}); {LESS}", self.about.name);
            return Err(Fault::Device { what });
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        match pollster::block_on(scope.pop()) {
            None => Ok(Arc::new(buffer)),
            Some(_) => {
                let what =
                    format!("the device has no memory for {what} of {bytes} bytes ({}); {LESS}", self.about.name);
                Err(Fault::Device { what })
            }
        }
    }

    /// Offsets of bindings are multiples of this.
    pub fn align(&self) -> u64 {
        u64::from(self.limits.min_storage_buffer_offset_alignment.max(self.limits.min_uniform_buffer_offset_alignment))
            .max(256)
    }

    /// Entries of an array that one kernel can be given, a whole number of pieces that the passes over arrays take.
    pub fn piece(&self) -> usize {
        const WHOLE: usize = 1 << 14;
        (self.limits.max_storage_buffer_binding_size as usize / 4).saturating_sub(WHOLE) / WHOLE * WHOLE
    }

    /// What `read` makes of the first bytes of a buffer that can be mapped. Waits for the device.
    pub fn mapped<T>(&self, seen: &wgpu::Buffer, bytes: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, Fault> {
        let (send, receive) = std::sync::mpsc::channel();
        seen.map_async(wgpu::MapMode::Read, 0..bytes, move |result| drop(send.send(result)));
        let failed = |what: String| Fault::Device { what: format!("{what} ({})", self.about.name) };
        let found = self.wait().and_then(|()| {
            // Another thread that waits for the device may be the one that is told.
            match receive.recv_timeout(TOLD) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(failed(error.to_string())),
                Err(_) => return Err(failed("it gave no results".into())),
            }
            let mapped = seen.slice(0..bytes).get_mapped_range().map_err(|error| failed(error.to_string()))?;
            Ok(read(&mapped))
        });
        // Whatever happened: the next run copies into it.
        seen.unmap();
        found
    }

    /// Waits until all that was submitted is done.
    pub fn wait(&self) -> Result<(), Fault> {
        let polled = self.device.poll(wgpu::PollType::wait_indefinitely());
        if let Some(fault) = self.trouble() {
            return Err(fault);
        }
        polled.map(|_| ()).map_err(|error| Fault::Device { what: format!("{error} ({})", self.about.name) })
    }
}

fn keep(trouble: &Mutex<Option<String>>, what: String) {
    trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
}

fn said(error: wgpu::Error) -> String {
    match error {
        wgpu::Error::OutOfMemory { .. } => "the device is out of memory".into(),
        wgpu::Error::Validation { description, .. } => format!("the device refused a command: {description}"),
        wgpu::Error::Internal { description, .. } => format!("the driver failed: {description}"),
    }
}
