use super::*;

const FILE: &str = "config/shop.toml";

const NODES: &str = r#"
[[frontend]]
id = "frontend-1"
address = "127.0.0.1:9000"
[[catalog]]
id = "catalog-1"
address = "127.0.0.1:9080"
[[order]]
id = "order-1"
address = "127.0.0.1:9081"
"#;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn load_with(toml: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::from_sources(Path::new(FILE), toml, pairs(environment), &pairs(flags))
}

fn load(toml: &str) -> Result<Config, ConfigErrors> {
    load_with(toml, &[], &[])
}

/// The report on a configuration, by lines.
fn report(toml: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Vec<String> {
    let errors = load_with(toml, environment, flags).unwrap_err();
    errors.to_string().lines().map(|line| line.trim_start().to_owned()).collect()
}

fn shipped(name: &str) -> Config {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap();
    load(&text).unwrap_or_else(|errors| panic!("{name}: {errors}"))
}

fn addresses(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().map(|node| node.address.as_str()).collect()
}

#[test]
fn nodes_alone_make_a_configuration() {
    let config = load(NODES).unwrap();
    assert_eq!(config.machine.data, Path::new("data"));
    assert_eq!(config.cache.capacity, 10_000);
    let node = config.node("catalog-1").unwrap();
    assert_eq!((node.role, node.number, node.listen.as_str()), (Role::Catalog, 1, "127.0.0.1:9080"));
    assert_eq!(config.nodes().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["frontend-1", "catalog-1", "order-1"]);
    assert_eq!(config.node("catalog-2"), None);
}

#[test]
fn the_file_of_one_machine_shows_every_default() {
    let shown = shipped("local.toml");
    let defaults = load(NODES).unwrap();
    let Config { frontends, catalogs, orders, .. } = shown.clone();
    assert_eq!(shown, Config { frontends, catalogs, orders, ..defaults });
    assert_eq!(addresses(&shown.frontends), ["127.0.0.1:9000"]);
    assert_eq!(addresses(&shown.catalogs), ["127.0.0.1:9080", "127.0.0.1:9082", "127.0.0.1:9084"]);
    assert_eq!(addresses(&shown.orders), ["127.0.0.1:9081", "127.0.0.1:9083", "127.0.0.1:9085"]);
}

#[test]
fn the_file_of_one_machine_shows_every_key() {
    let text = include_str!("../../config/local.toml");
    let sources = source::Sources::gather(Path::new(FILE), text, Vec::new(), &[]).unwrap();
    let mut reader = reader::Reader::new(&sources);
    Config::read(&mut reader);
    let missing: Vec<_> = reader.keys.iter().filter(|key| sources.entry(key).is_none()).collect();
    // One node shows that `listen` can be set, for all of them.
    assert!(missing.iter().all(|key| key.ends_with("].listen")), "{missing:?}");
}

#[test]
fn the_other_shipped_files_load() {
    let pair = shipped("pair.toml");
    assert_eq!((pair.frontends.len(), pair.catalogs.len(), pair.orders.len()), (1, 2, 2));
    let docker = shipped("docker.toml");
    assert_eq!(docker.machine.data, Path::new("/data"));
    assert_eq!(docker.catalogs[2].address, "catalog-3:9084");
    assert_eq!(docker.catalogs[2].listen, "0.0.0.0:9084");
    let vms = shipped("vms.toml");
    assert!(vms.nodes().all(|node| node.listen.starts_with("0.0.0.0:")));
}

#[test]
fn a_flag_goes_before_a_variable_and_a_variable_before_the_file() {
    let toml = format!("[cache]\ncapacity = 1\nttl_ms = 1\npolicy = \"lru\"\n{NODES}");
    let environment = [("BAZAR_CACHE__TTL_MS", "2"), ("BAZAR_CACHE__POLICY", "tiny-lfu"), ("BAZAR_DATA", "/srv")];
    let flags = [("cache.ttl_ms", "3"), ("cache.enabled", "false"), ("data", "7")];
    let config = load_with(&toml, &environment, &flags).unwrap();
    let cache = &config.cache;
    assert_eq!((cache.enabled, cache.capacity, cache.ttl_ms, cache.policy), (false, 1, 3, EvictionPolicy::TinyLfu));
    assert_eq!(config.machine.data, Path::new("7"));
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let toml = r#"sead = "books.csv"
data = ""

[[frontend]]
id = "frontend-1"
address = "127.0.0.1:9000"

[[catalog]]
id = "catalog-1"
address = "127.0.0.1:0"

[[catalog]]
id = "catalog-1"
adress = "127.0.0.1:9082"

[[catalog]]
id = "store-3"
address = "127.0.0.1:9000"
listen = "9000"

[cache]
capacity = "many"
enabled = "yes"
policy = "fifo"
ttl_ms = -5

[replication]
heartbeat_ms = 500

[reeds]
without_majority = "stale"

[http]
max_connections = 1.5
colour = "red"

[log]
level = "bazar=loud"
"#;
    let environment = [("BAZAR_BALANCER__PROBE_INTERVAL", "500"), ("BAZAR_READS__MAJORITY_WAIT_MS", "soon")];
    let flags = [("catalog.0.address", "127.0.0.1:9080"), ("cache", "big"), ("http.drain_timeout_ms", "soon")];
    let expected = [
        r#"24 mistakes in the configuration config/shop.toml:"#,
        r#"config/shop.toml: order: missing; expected at least one [[order]] table"#,
        r#"config/shop.toml:1: sead: unknown key; did you mean seed?"#,
        r#"config/shop.toml:2: data: found the string ""; expected a path"#,
        r#"config/shop.toml:10: catalog[0].address: found the string "127.0.0.1:0"; expected a port from 1 to 65535, as the other nodes must know it"#,
        r#"config/shop.toml:12: catalog[1].address: missing; expected host:port and nothing else, as "192.0.2.1:9080", "shop.example:9080" or "[::1]:9080""#,
        r#"config/shop.toml:13: catalog[1].id: found "catalog-1", as for catalog[0].id (config/shop.toml:9); expected each node to have its own id"#,
        r#"config/shop.toml:14: catalog[1].adress: unknown key; did you mean catalog[1].address?"#,
        r#"config/shop.toml:17: catalog[2].id: found the string "store-3"; expected catalog- and a number from 1, as "catalog-1""#,
        r#"config/shop.toml:18: catalog[2].address: found "127.0.0.1:9000", as for frontend[0].address (config/shop.toml:6); expected each node to have its own address"#,
        r#"config/shop.toml:19: catalog[2].listen: found the string "9000"; expected host:port and nothing else, as "192.0.2.1:9080", "shop.example:9080" or "[::1]:9080""#,
        r#"config/shop.toml:22: cache.capacity: found the string "many"; expected a whole number from 1 to 100000000"#,
        r#"config/shop.toml:23: cache.enabled: found the string "yes"; expected true or false"#,
        r#"config/shop.toml:24: cache.policy: found the string "fifo"; expected "lru" or "tiny-lfu""#,
        r#"config/shop.toml:25: cache.ttl_ms: found the number -5; expected a whole number from 1 to 86400000"#,
        r#"config/shop.toml:28: replication.heartbeat_ms: found 500; expected less than replication.election_timeout_min_ms = 450, or else followers call elections between two heartbeats"#,
        r#"config/shop.toml:30: reeds: unknown key; did you mean reads?"#,
        r#"config/shop.toml:34: http.max_connections: found the number 1.5; expected a whole number from 1 to 1000000"#,
        r#"config/shop.toml:35: http.colour: unknown key; known here are http.drain_timeout_ms, http.header_timeout_ms, http.idle_timeout_ms, http.max_body_bytes, http.max_connections, http.request_timeout_ms"#,
        r#"config/shop.toml:38: log.level: found the string "bazar=loud"; expected error, warn, info, debug, trace or off, or such a level and others by module, as in "info,bazar::http=debug""#,
        r#"environment variable BAZAR_BALANCER__PROBE_INTERVAL: balancer.probe_interval: unknown key; did you mean BAZAR_BALANCER__PROBE_INTERVAL_MS?"#,
        r#"environment variable BAZAR_READS__MAJORITY_WAIT_MS: reads.majority_wait_ms: found "soon"; expected a whole number from 10 to 60000"#,
        r#"flag --set cache: found a value; expected keys below it, as cache is a section"#,
        r#"flag --set catalog.0.address: nodes are set in the file alone, in its [[catalog]] tables, so that all agree on them"#,
        r#"flag --set http.drain_timeout_ms: found "soon"; expected a whole number from 0 to 3600000"#,
    ];
    assert_eq!(report(toml, &environment, &flags), expected);
}

#[test]
fn one_mistake_is_counted_as_one() {
    let lines = report(&format!("[cache]\ncapacity = 0\n{NODES}"), &[], &[]);
    let told = "config/shop.toml:2: cache.capacity: found the number 0; expected a whole number from 1 to 100000000";
    assert_eq!(lines, ["1 mistake in the configuration config/shop.toml:", told]);
}

#[test]
fn a_value_that_something_overrides_is_shown_where_it_was_overridden() {
    let toml = format!("[replication]\nheartbeat_ms = 50\n{NODES}");
    let environment = [("BAZAR_REPLICATION__ELECTION_TIMEOUT_MIN_MS", "50")];
    let flags = [("replication.heartbeat_ms", "60")];
    let told = "flag --set replication.heartbeat_ms: found 60; expected less than \
                replication.election_timeout_min_ms = 50, or else followers call elections between two heartbeats";
    assert_eq!(report(&toml, &environment, &flags)[1..], [told]);
}

#[test]
fn of_two_numbers_that_disagree_the_one_that_was_set_is_shown() {
    let lines = report(&format!("replication.election_timeout_min_ms = 90\n{NODES}"), &[], &[]);
    let told = "config/shop.toml:1: replication.election_timeout_min_ms: found 90; expected more than \
                replication.heartbeat_ms = 200, or else followers call elections between two heartbeats";
    assert_eq!(lines[1..], [told]);

    let file = format!("replication.election_timeout_min_ms = 300\nreplication.heartbeat_ms = 100\n{NODES}");
    let lines = report(&file, &[], &[("replication.election_timeout_max_ms", "200")]);
    let told = "flag --set replication.election_timeout_max_ms: found 200; expected more than \
                replication.election_timeout_min_ms = 300, or else all followers stand for election at once";
    assert_eq!(lines[1..], [told]);
}

#[test]
fn an_address_is_one_however_it_is_written() {
    for other in ["LOCALHOST:9080", "localhost:09080", "127.0.0.1:009080"] {
        let lines = report(&NODES.replace("127.0.0.1:9081", other), &[], &[]);
        assert!(lines[1].contains("as for catalog[0].address"), "{other}: {lines:?}");
    }
}

#[test]
fn an_unknown_key_suggests_the_nearest_known_one_in_the_form_of_its_place() {
    for (key, meant) in [
        ("cache.cap", "cache.capacity"),
        ("cach.capacity", "cache.capacity"),
        ("cache.heartbeat_ms", "replication.heartbeat_ms"),
        ("data2", "data"),
        ("cache.capacity.max", "cache.capacity"),
    ] {
        let told = format!("flag --set {key}: unknown key; did you mean {meant}?");
        assert_eq!(report(NODES, &[], &[(key, "1")])[1..], [told]);
    }
    let told =
        "environment variable BAZAR_CACHE_CAPACITY: cache_capacity: unknown key; did you mean BAZAR_CACHE__CAPACITY?";
    assert_eq!(report(NODES, &[("BAZAR_CACHE_CAPACITY", "1")], &[])[1..], [told]);
    let told = "flag --set colour: unknown key; known here are balancer, cache, data, http, log, reads, \
                replication, seed, threads";
    assert_eq!(report(NODES, &[], &[("colour", "red")])[1..], [told]);
}

#[test]
fn what_stands_in_a_mistake_is_not_told_again() {
    let toml = format!("log = 5\ncache.capacity = {{ max = 5 }}\n[reeds]\nx = 1\n[reeds.y]\nz = [{{}}]\n{NODES}");
    let lines = report(&toml, &[], &[]);
    assert_eq!(
        lines[1..],
        [
            "config/shop.toml:1: log: found a value; expected keys below it, as log is a section",
            "config/shop.toml:2: cache.capacity: found a table; expected a whole number from 1 to 100000000",
            "config/shop.toml:3: reeds: unknown key; did you mean reads?",
        ]
    );
}

#[test]
fn a_quoted_key_is_no_path() {
    let lines = report(&format!("\"cache.capacity\" = 5\n{NODES}"), &[], &[]);
    assert!(lines[1].starts_with("config/shop.toml:1: \"cache.capacity\": unknown key"), "{lines:?}");
}

#[test]
fn a_group_is_a_list_of_tables() {
    let nodes = NODES.replace("[[catalog]]", "[catalog]");
    let told = "config/shop.toml:5: catalog: expected [[catalog]], in two brackets, above the keys of each node";
    assert_eq!(report(&nodes, &[], &[])[1..], [told]);
    let nodes = NODES.replace("[[catalog]]\nid = \"catalog-1\"\naddress = \"127.0.0.1:9080\"", "");
    let inline = format!("catalog = [{{ id = \"catalog-1\", address = \"db:1\" }}, 5]\n{nodes}");
    let lines = report(&inline, &[], &[]);
    assert!(lines[1].starts_with("config/shop.toml:1: catalog[1].address: missing; expected host:port"), "{lines:#?}");
}

#[test]
fn nodes_cannot_be_set_by_the_environment() {
    let told = "environment variable BAZAR_ORDER__0__ADDRESS: order.0.address: nodes are set in the file alone, in its \
                [[order]] tables, so that all agree on them";
    assert_eq!(report(NODES, &[("BAZAR_ORDER__0__ADDRESS", "a:1")], &[])[1..], [told]);
}

#[test]
fn a_key_with_an_empty_part_is_no_key() {
    for key in ["", ".", "cache.", "cache..capacity"] {
        let told = format!("flag --set {key}: this is no key; keys are written as cache.capacity");
        assert_eq!(report(NODES, &[], &[(key, "1")])[1..], [told.trim_start()]);
    }
}

#[test]
fn an_id_has_one_spelling() {
    for id in ["order-0", "order-01", "order-+1", "order-", "order", "catalog-1", "ORDER-1", "order-1/../x"] {
        let lines = report(&NODES.replace("order-1", id), &[], &[]);
        assert!(lines[1].contains(r#"expected order- and a number from 1, as "order-1""#), "{lines:?}");
    }
}

#[test]
fn an_address_is_a_host_that_others_reach_and_a_fixed_port() {
    for good in ["shop.example:80", "catalog_1:9080", "[::1]:9080", "[2001:db8::1]:65535", "192.0.2.7:1"] {
        let config = load(&NODES.replace("127.0.0.1:9080", good)).unwrap();
        assert_eq!(config.catalogs[0].address, good);
    }
    for bad in [
        "http://shop.example:80",
        "shop.example",
        "shop.example:",
        ":80",
        "::1:9080",
        "[::1]",
        "[x]:1",
        "a b:1",
        "a:+1",
        "256.0.0.1:80",
        "a:80/x",
        "a:0",
        "a:65536",
        "0.0.0.0:80",
        "[::]:80",
    ] {
        let lines = report(&NODES.replace("127.0.0.1:9080", bad), &[], &[]);
        let told = format!("config/shop.toml:7: catalog[0].address: found the string {bad:?}; expected ");
        assert!(lines.len() == 2 && lines[1].starts_with(&told), "{lines:?}");
    }
}

#[test]
fn what_is_not_toml_is_shown_by_line_and_column() {
    let lines = report("data = \"x\"\n[cache]\nttl_ms = = 5\n", &[], &[]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with("config/shop.toml:3: column 10: this is not TOML: "), "{lines:?}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let errors = Config::load(Path::new("/nowhere/bazar.toml"), &[]).unwrap_err();
    let told = "1 mistake in the configuration /nowhere/bazar.toml:\n  /nowhere/bazar.toml: there is no such file";
    assert_eq!(errors.to_string(), told);
}

#[test]
fn a_file_on_disk_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.toml");
    std::fs::write(&file, NODES).unwrap();
    let config = Config::load(&file, &pairs(&[("cache.capacity", "48")])).unwrap();
    assert_eq!(config.cache.capacity, 48);
}

#[test]
fn a_role_comes_back_from_its_name() {
    for role in Role::ALL {
        assert_eq!(role.to_string().parse(), Ok(role));
    }
    assert_eq!("Frontend".parse::<Role>(), Err(NotARole));
}
