-- Query 2, selection: the bids on some auctions.

INSERT INTO records
SELECT k, n, CAST(price AS STRING) FROM bids WHERE MOD(auction, 123) = 0;
