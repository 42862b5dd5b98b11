//! A whole rule file over lines of both formats, as an agent runs it.

use std::error::Error;

use headland_detection::{Decoder, Engine, Format, Output, Program};
use headland_event::{EventTime, Offset, Severity};

const RULES: &str = r"
    -- Stock moves, one JSON object per line.
    CREATE TABLE inventory_events (
      id STRING, kind STRING, device STRING, sku STRING, location STRING, quantity BIGINT,
      `time` TIMESTAMP(3),
      WATERMARK FOR `time` AS `time` - INTERVAL '2' HOUR
    ) WITH ('topic' = 'inventory.events', 'format' = 'json', 'key' = 'device');

    /* Hourly readings, with a header. */
    CREATE TABLE air_readings (
      station STRING, `time` TIMESTAMP(3), pm25 DOUBLE, temp DOUBLE,
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
      WITH ('topic' = 'alerts', 'severity' = 'info', 'alert.key' = 'sku', 'alert.window' = 'id');
    INSERT INTO bulk_sale
    SELECT id, sku, location, quantity FROM inventory_events
    WHERE kind = 'sale' AND quantity >= 100;
";

/// Feeds lines of one table and gives what comes out.
fn run(table: &str, header: Option<&str>, lines: &[&str]) -> Result<Vec<Output>, Box<dyn Error>> {
    let program = Program::compile("rules.sql", RULES)?;
    let id = program.table_id(table).ok_or("no such table")?;
    let decoder = Decoder::new(program.table(id), header.map(str::as_bytes))?;
    let mut engine = Engine::new(program, 1);
    let mut outputs = Vec::new();
    for (line, offset) in lines.iter().zip(0..) {
        let row = decoder.decode(line.as_bytes())?;
        engine.on_row(id, &row, Offset::new(offset), EventTime::from_millis(42));
        outputs.extend(std::iter::from_fn(|| engine.poll_output()));
    }
    Ok(outputs)
}

/// An inventory event of one till, sku and moment.
fn event(id: &str, kind: &str, rest: &str) -> String {
    format!(
        r#"{{"id":"{id}","kind":"{kind}","device":"eu-1-till","sku":"85123A","location":"eu-1","#
    ) + &format!(r#""time":"2010-12-01T08:26:00Z",{rest}}}"#)
}

#[test]
fn tables_say_where_their_rows_come_from() {
    let program = Program::compile("rules.sql", RULES).unwrap();

    let told: Vec<_> = program
        .tables()
        .iter()
        .map(|table| {
            (table.topic().unwrap().as_str(), table.format(), table.delay().unwrap().as_secs())
        })
        .collect();

    assert_eq!(
        told,
        [("inventory.events", Format::Json, 7_200), ("air.readings", Format::Csv, 3_600)]
    );
}

#[test]
fn a_bulk_sale_is_an_alert_named_by_its_sku_and_delivery() {
    let outputs = run(
        "inventory_events",
        None,
        &[
            &event("eu-1/000122", "sale", r#""quantity":99"#),
            &event("eu-1/000123", "sale", r#""quantity":100,"clock":"2010-12-01T08:26:03Z""#),
            &event("eu-1/000124", "restock", r#""quantity":500"#),
            &event("eu-1/000125", "stocktake", r#""count":5"#),
        ],
    )
    .unwrap();

    let [Output::Result(alert)] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((&*alert.rule, &*alert.key, &*alert.window), ("bulk_sale", "85123A", "eu-1/000123"));
    assert_eq!(alert.severity, Severity::Info);
    assert_eq!(alert.evidence, Offset::new(1));
    assert_eq!(alert.event_time, EventTime::from_millis(1_291_191_960_000));
    assert_eq!(alert.captured_at, EventTime::from_millis(42));
}

#[test]
fn an_average_above_the_threshold_is_an_alert_named_by_station_and_window_end() {
    let outputs = run(
        "air_readings",
        Some("station,time,pm25,temp,wind"),
        &[
            "Dongsi,2013-03-01 00:00:00,119,1,N",
            "Dongsi,2013-03-01 01:00:00,NA,1,N",
            "Dongsi,2013-03-01 02:00:00,121.5,1,N",
            "Tiantan,2013-03-01 02:00:00,120,1,N",
            "Dongsi,2013-03-01 03:59:59.998,500,1,N",
            "Dongsi,2013-03-01 03:59:59.999,500,1,N",
        ],
    )
    .unwrap();

    let [Output::Result(alert)] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(
        (&*alert.rule, &*alert.key, &*alert.window),
        ("pm25_high", "Dongsi", "1362106800000")
    );
    assert_eq!(alert.evidence, Offset::new(5));
    let values: Vec<_> =
        alert.columns.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        values,
        [
            "station=Dongsi",
            "window_start=2013-03-01T00:00:00Z",
            "window_end=2013-03-01T03:00:00Z",
            "pm25=120.25"
        ]
    );
}
