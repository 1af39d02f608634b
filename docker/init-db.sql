-- The tables of pipeline activity, exactly as tidegate creates and verifies them: whoever comes first makes them.

CREATE TABLE IF NOT EXISTS tidegate_epochs (
    sink text PRIMARY KEY,
    epoch bigint,
    generation bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS tidegate_refused (
    sink text NOT NULL,
    epoch bigint NOT NULL,
    table_name text NOT NULL,
    row jsonb NOT NULL,
    sqlstate text NOT NULL,
    reason text NOT NULL,
    refused_at timestamp with time zone NOT NULL
);

CREATE TABLE IF NOT EXISTS tidegate_early (
    sink text NOT NULL,
    epoch bigint NOT NULL,
    table_name text NOT NULL,
    rows bytea NOT NULL
);

CREATE TABLE IF NOT EXISTS "page_view_counts" (
    "window_start" timestamptz NOT NULL,
    "window_end" timestamptz NOT NULL,
    "page_url" text NOT NULL,
    "view_count" bigint NOT NULL,
    PRIMARY KEY ("window_start", "page_url")
);

CREATE TABLE IF NOT EXISTS "active_users" (
    "window_start" timestamptz NOT NULL,
    "window_end" timestamptz NOT NULL,
    "active_user_count" bigint NOT NULL,
    PRIMARY KEY ("window_start")
);

CREATE TABLE IF NOT EXISTS "user_sessions" (
    "user_id" text NOT NULL,
    "session_start_time" timestamptz NOT NULL,
    "session_end_time" timestamptz NOT NULL,
    "session_duration_seconds" bigint NOT NULL,
    PRIMARY KEY ("user_id")
);

CREATE TABLE IF NOT EXISTS "session_history" (
    "user_id" text NOT NULL,
    "session_start_time" timestamptz NOT NULL,
    "session_end_time" timestamptz NOT NULL,
    "session_duration_seconds" bigint NOT NULL,
    "seq" bigint NOT NULL,
    "end_reason" text NOT NULL,
    "events" bigint NOT NULL,
    "page_views" bigint NOT NULL,
    PRIMARY KEY ("user_id", "session_start_time", "seq")
);
