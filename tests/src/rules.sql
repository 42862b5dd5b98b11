CREATE TABLE inventory_events (
  id STRING, kind STRING, device STRING, sku STRING, location STRING, quantity BIGINT,
  `time` TIMESTAMP(3),
  WATERMARK FOR `time` AS `time` - INTERVAL '2' HOUR
) WITH ('topic' = 'inventory.events', 'format' = 'json', 'key' = 'device');

CREATE TABLE air_readings (
  station STRING, `time` TIMESTAMP(3), pm25 DOUBLE,
  WATERMARK FOR `time` AS `time` - INTERVAL '1' HOUR
) WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station');

CREATE TABLE pm25_high (
  station STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3), pm25 DOUBLE
) WITH ('topic' = 'alerts', 'severity' = 'warning');

INSERT INTO pm25_high
SELECT station, window_start, window_end, AVG(pm25) AS pm25
FROM TABLE(TUMBLE(TABLE air_readings, DESCRIPTOR(`time`), INTERVAL '3' HOURS))
GROUP BY station, window_start, window_end HAVING AVG(pm25) > 120;

CREATE TABLE bulk_sale (id STRING, sku STRING, location STRING, quantity BIGINT)
WITH (
  'topic' = 'alerts', 'severity' = 'info', 'alert.key' = 'sku', 'alert.window' = 'id'
);

INSERT INTO bulk_sale
SELECT id, sku, location, quantity FROM inventory_events
WHERE kind = 'sale' AND quantity >= 100;
