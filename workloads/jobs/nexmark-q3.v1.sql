-- Query 3, local items: who sells in Oregon, Idaho or California, in category 10, and which auction it is. A join whose
-- state keeps both sides for ever.

INSERT INTO records
SELECT a.k, a.n, CONCAT_WS(', ', p.name, p.city, p.state)
FROM auctions AS a
JOIN persons AS p ON a.seller = p.id
WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA');
