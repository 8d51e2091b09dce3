-- What every version of keyed-count reads and writes, to be held against the log itself:
--   out   every record again, with how many of its key there have been: n + 1, if none was lost or doubled
--   win   how many there were of each key in each second, by the records' own timestamps
-- `job` says which version made a record. A key's records go to one partition of `out`, so that their order can be seen.

CREATE TABLE input (
  k STRING,
  n BIGINT,
  t BIGINT,
  arrived AS PROCTIME(),
  happened TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
  WATERMARK FOR happened AS happened - INTERVAL '${lateness_s}' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'in',
  'properties.bootstrap.servers' = '${brokers}',
  'properties.group.id' = 'keyed-count${copy}',
  'properties.reconnect.backoff.max.ms' = '200',
  'properties.retry.backoff.ms' = '50',
  'properties.request.timeout.ms' = '5000',
  'properties.metadata.max.age.ms' = '5000',
  'properties.fetch.min.bytes' = '65536',
  'properties.fetch.max.wait.ms' = '50',
  'scan.startup.mode' = '${start}',
  'format' = 'json'
);

CREATE TABLE counts (
  k STRING,
  n BIGINT,
  `count` BIGINT,
  t BIGINT,
  worked_ms BIGINT,
  job STRING
) WITH (
  'connector' = 'kafka',
  'topic' = 'out${copy}',
  'properties.bootstrap.servers' = '${brokers}',
  'properties.reconnect.backoff.max.ms' = '200',
  'properties.retry.backoff.ms' = '50',
  'properties.request.timeout.ms' = '5000',
  'properties.metadata.max.age.ms' = '5000',
  'key.format' = 'raw',
  'key.fields' = 'k',
  'value.format' = 'json',
  'properties.linger.ms' = '50',
  ${out_sink}
);

CREATE TABLE windows (
  k STRING,
  window_ms BIGINT,
  `count` BIGINT,
  job STRING
) WITH (
  'connector' = 'kafka',
  'topic' = 'win${copy}',
  'properties.bootstrap.servers' = '${brokers}',
  'properties.reconnect.backoff.max.ms' = '200',
  'properties.retry.backoff.ms' = '50',
  'properties.request.timeout.ms' = '5000',
  'properties.metadata.max.age.ms' = '5000',
  'key.format' = 'raw',
  'key.fields' = 'k',
  'value.format' = 'json',
  'properties.linger.ms' = '50',
  ${win_sink}
);
