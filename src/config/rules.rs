//! What ties two keys together.

use super::reader::Reader;

/// Requires what must hold between two keys.
pub(super) fn check(reader: &mut Reader) {
    const RULES: [(&str, &str, &str); 8] = [
        (
            "replication.heartbeat_ms",
            "replication.election_timeout_min_ms",
            "followers call elections between two heartbeats",
        ),
        (
            "replication.election_timeout_min_ms",
            "replication.election_timeout_max_ms",
            "all followers stand for election at once",
        ),
        (
            "replication.election_timeout_max_ms",
            "reads.majority_wait_ms",
            "an ordinary election is taken for a lost majority",
        ),
        ("replication.segment_bytes", "replication.snapshot_log_bytes", "a snapshot frees no file of the log"),
        ("balancer.attempt_timeout_ms", "balancer.read_deadline_ms", "a read is never tried at a second replica"),
        ("balancer.attempt_timeout_ms", "balancer.write_deadline_ms", "a write is never tried at a second replica"),
        ("balancer.read_deadline_ms", "http.request_timeout_ms", "requests are cut off while they are still tried"),
        ("balancer.write_deadline_ms", "http.request_timeout_ms", "requests are cut off while they are still tried"),
    ];
    for (low, high, otherwise) in RULES {
        reader.require_below(low, high, otherwise);
    }
}
