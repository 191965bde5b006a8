-- The tables that runledger takes the place of, each with an index per field, as runledger has one.
-- A run is one row, its newest state; `id` is the sequence number of its first. Ids that are UUIDs
-- or 32 hexadecimal digits are blobs of 16 bytes, times nanoseconds.
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    status INTEGER NOT NULL,
    type TEXT NOT NULL,
    run_id BLOB NOT NULL UNIQUE,
    trace_id BLOB,
    project_id TEXT,
    user_id TEXT,
    attempt INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    error_type TEXT,
    message TEXT,
    stack TEXT,
    metadata TEXT,
    result TEXT
);
CREATE INDEX IF NOT EXISTS runs_time ON runs (created_at);
CREATE INDEX IF NOT EXISTS runs_type ON runs (type, created_at);
CREATE INDEX IF NOT EXISTS runs_status ON runs (status, created_at);
CREATE INDEX IF NOT EXISTS runs_trace ON runs (trace_id, created_at);
CREATE INDEX IF NOT EXISTS runs_project ON runs (project_id, created_at);
CREATE INDEX IF NOT EXISTS runs_user ON runs (user_id, created_at);

CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    seq INTEGER GENERATED ALWAYS AS (id) VIRTUAL,
    created_at INTEGER NOT NULL,
    severity INTEGER,
    type TEXT NOT NULL,
    run_id BLOB,
    trace_id BLOB,
    project_id TEXT,
    user_id TEXT,
    message TEXT,
    payload TEXT
);
CREATE INDEX IF NOT EXISTS events_time ON events (created_at);
CREATE INDEX IF NOT EXISTS events_type ON events (type, created_at);
CREATE INDEX IF NOT EXISTS events_severity ON events (severity, created_at);
CREATE INDEX IF NOT EXISTS events_run ON events (run_id, created_at);
CREATE INDEX IF NOT EXISTS events_trace ON events (trace_id, created_at);
CREATE INDEX IF NOT EXISTS events_project ON events (project_id, created_at);
CREATE INDEX IF NOT EXISTS events_user ON events (user_id, created_at);

CREATE TABLE IF NOT EXISTS errors (
    id INTEGER PRIMARY KEY,
    seq INTEGER GENERATED ALWAYS AS (id) VIRTUAL,
    created_at INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    type TEXT NOT NULL,
    run_id BLOB,
    trace_id BLOB,
    project_id TEXT,
    user_id TEXT,
    message TEXT,
    stack TEXT,
    detail TEXT,
    endpoint TEXT,
    fingerprint INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS errors_time ON errors (created_at);
CREATE INDEX IF NOT EXISTS errors_type ON errors (type, created_at);
CREATE INDEX IF NOT EXISTS errors_severity ON errors (severity, created_at);
CREATE INDEX IF NOT EXISTS errors_run ON errors (run_id, created_at);
CREATE INDEX IF NOT EXISTS errors_trace ON errors (trace_id, created_at);
CREATE INDEX IF NOT EXISTS errors_project ON errors (project_id, created_at);
CREATE INDEX IF NOT EXISTS errors_user ON errors (user_id, created_at);
CREATE INDEX IF NOT EXISTS errors_fingerprint ON errors (fingerprint);
