-- The second version differs in `job` alone: a plan of the same shape, which takes over the first one's state.

EXECUTE STATEMENT SET
BEGIN
  INSERT INTO counts
  SELECT
    k,
    n,
    COUNT(*) OVER (PARTITION BY k ORDER BY arrived ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
    t,
    TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', CAST(arrived AS TIMESTAMP(3))) * CAST(1000 AS BIGINT)
      + CAST(DATE_FORMAT(CAST(arrived AS TIMESTAMP(3)), 'SSS') AS BIGINT),
    'v2'
  FROM input;

  INSERT INTO windows
  SELECT
    k,
    CAST(TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', window_start) AS BIGINT) * 1000,
    COUNT(*),
    'v2'
  FROM TABLE(TUMBLE(TABLE input, DESCRIPTOR(happened), INTERVAL '1' SECOND))
  GROUP BY k, window_start, window_end;
END;
