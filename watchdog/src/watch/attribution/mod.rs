//! Attributes a change of a node's memory, as far as the guard can tell.
//!
//! The guard sees only accesses by node 0. If it is whole and let no write through, a change came
//! from inside the node, or from a device. A device behind node 0's IOMMU is ruled out too, because
//! the guard sees the mappings of the IOMMU. A process that was allowed to map memory may write
//! there at any later time, and no hook runs for such a write.

mod access;
mod attribute;
mod facts;
mod iommu;
mod write_log;

pub(super) use access::Access;
pub(super) use attribute::Attribution;
pub(super) use facts::investigate;
pub(super) use write_log::WriteLog;
