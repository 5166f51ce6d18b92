//! HDR interval logs: trimmed, merged, summarised.
