-- What every query of Nexmark reads and writes. The input's envelope (k, n) is that of all records; `kind` says which of
-- the three an event is, and has no value in end markers. Results are records again, or cells of a window, by the shape
-- that is read back: {k, n} names the event that a result speaks of, {k, window_ms, count} what was counted, and when.

CREATE TABLE input (
  k STRING,
  n BIGINT,
  kind INT,
  person ROW<id BIGINT, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING>,
  auction ROW<id BIGINT, itemName STRING, initialBid BIGINT, reserve BIGINT, expires BIGINT, seller BIGINT, category INT>,
  bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING>,
  arrived AS PROCTIME(),
  happened TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
  WATERMARK FOR happened AS happened - INTERVAL '${lateness_s}' SECOND
) WITH (
  'topic' = 'in',
  'format' = 'json',
  ${source}
);

CREATE TEMPORARY VIEW persons AS
SELECT k, n, person.id AS id, person.name AS name, person.city AS city, person.state AS state, happened
FROM input WHERE kind = 0;

CREATE TEMPORARY VIEW auctions AS
SELECT k, n, auction.id AS id, auction.seller AS seller, auction.category AS category, happened
FROM input WHERE kind = 1;

CREATE TEMPORARY VIEW bids AS
SELECT k, n, bid.auction AS auction, bid.bidder AS bidder, bid.price AS price, happened, arrived
FROM input WHERE kind = 2;

CREATE TABLE records (
  k STRING,
  n BIGINT,
  told STRING
) WITH (
  'topic' = 'out${copy}',
  'key.format' = 'raw',
  'key.fields' = 'k',
  'value.format' = 'json',
  ${out_sink}
);

CREATE TABLE cells (
  k STRING,
  window_ms BIGINT,
  `count` BIGINT
) WITH (
  'topic' = 'out${copy}',
  'key.format' = 'raw',
  'key.fields' = 'k',
  'value.format' = 'json',
  ${out_sink}
);
