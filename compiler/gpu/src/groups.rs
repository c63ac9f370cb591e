//! Bind groups of dispatches, kept for the next runs: making one costs the host more than all else of a dispatch.

use std::collections::HashMap;
use std::sync::Arc;

use crate::device::Device;
use crate::pipeline::Pipeline;
use crate::pool::Place;

/// Runs in which a group is not used before it is dropped, and with it its hold on buffers.
const UNUSED: u64 = 4;

#[derive(Default)]
pub struct Groups {
    run: u64,
    /// By the address of the pipeline, which the group's layout keeps apart from others, and what is bound.
    known: HashMap<(usize, Vec<Place>), Group>,
}

struct Group {
    group: wgpu::BindGroup,
    /// The address is the pipeline's as long as this is here.
    _pipeline: Arc<Pipeline>,
    used: u64,
}

impl Groups {
    /// A run begins.
    pub fn age(&mut self) {
        self.run += 1;
        let run = self.run;
        self.known.retain(|_, group| group.used + UNUSED >= run);
    }

    /// Buffers are made anew: what is kept would hold the old ones.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// The group that binds these places to a pipeline, from this binding on.
    pub fn of(&mut self, device: &Device, pipeline: &Arc<Pipeline>, first: u32, places: Vec<Place>) -> wgpu::BindGroup {
        let run = self.run;
        let key = (Arc::as_ptr(pipeline) as usize, places);
        if let Some(known) = self.known.get_mut(&key) {
            known.used = run;
            return known.group.clone();
        }
        let entries: Vec<wgpu::BindGroupEntry> = (first..).zip(&key.1).map(entry).collect();
        let layout = &pipeline.layout;
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout, entries: &entries };
        let group = device.device.create_bind_group(&descriptor);
        self.known.insert(key, Group { group: group.clone(), _pipeline: pipeline.clone(), used: run });
        group
    }
}

fn entry((binding, place): (u32, &Place)) -> wgpu::BindGroupEntry<'_> {
    wgpu::BindGroupEntry {
        binding,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &place.buffer,
            offset: place.offset,
            size: std::num::NonZeroU64::new(place.bytes),
        }),
    }
}
