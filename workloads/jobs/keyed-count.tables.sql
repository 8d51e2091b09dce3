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
  'topic' = 'in',
  'format' = 'json',
  ${source}
);

CREATE TABLE counts (
  k STRING,
  n BIGINT,
  `count` BIGINT,
  t BIGINT,
  worked_ms BIGINT,
  job STRING
) WITH (
  'topic' = 'out${copy}',
  'key.format' = 'raw',
  'key.fields' = 'k',
  'value.format' = 'json',
  ${out_sink}
);

CREATE TABLE windows (
  k STRING,
  window_ms BIGINT,
  `count` BIGINT,
  job STRING
) WITH (
  'topic' = 'win${copy}',
  'key.format' = 'raw',
  'key.fields' = 'k',
  'value.format' = 'json',
  ${win_sink}
);
