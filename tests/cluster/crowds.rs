//! More connections, and more that is asked for at once, than a node may have.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bazar::platform::raise_descriptor_limit;

use crate::common::cluster::Cluster;
use crate::common::until;

/// Connections on which nothing is said.
fn silent_crowd(cluster: &Cluster, id: &str, count: usize) -> Vec<TcpStream> {
    let address = cluster.address(id);
    (0..count).map_while(|_| TcpStream::connect(address).ok()).collect()
}

#[test]
fn a_silent_crowd_at_every_node_stops_neither_nodes_nor_customers() {
    let mut cluster = Cluster::alone(1, 3, 1).with_open_files(96).open();
    assert!(cluster.log("frontend-1").contains("http.max_connections does not fit"), "{}", cluster.log("frontend-1"));
    let nodes = ["frontend-1", "catalog-1", "catalog-2", "catalog-3", "order-1"];
    let crowds = nodes.map(|id| silent_crowd(&cluster, id, 200));
    assert!(crowds.iter().all(|crowd| crowd.len() == 200));
    for id in nodes {
        cluster.client(id).get("/health").expect(200);
    }
    let mut customer = cluster.client("frontend-1");
    for _ in 0..20 {
        customer.post("/purchase/1").expect(201);
        customer.get("/info/1").expect(200);
    }
    drop(crowds);
    let leader = cluster.leader("catalog");
    cluster.kill9(&leader);
    customer.post("/purchase/1").expect(201);
}

#[test]
fn a_node_that_may_have_few_files_open_allows_itself_more() {
    let cluster = Cluster::alone(1, 1, 1).with_open_files_at_first(96).open();
    let crowd = silent_crowd(&cluster, "frontend-1", 200);
    // All have their places, and none has to leave for another.
    for mut stream in crowd.iter().chain(&crowd) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        // The rest, so that the next answer comes first the next time.
        while !answer.ends_with(b"}\n") {
            answer.rotate_left(1);
            stream.read_exact(&mut answer[11..]).unwrap();
        }
    }
    assert!(!cluster.log("frontend-1").contains("http.max_connections does not fit"), "{}", cluster.log("frontend-1"));
}

/// Books of one topic.
const LONG_TITLES: u64 = 1000;

/// How long anybody else may have to wait, in a build for tests. Answered one after another, the lists take several times as long.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn a_crowd_that_asks_for_the_longest_lists_and_takes_none_keeps_nobody_waiting() {
    let cluster = heavy_shop();
    let mut customer = cluster.client("frontend-1");
    let page = customer.get("/search/heavy?limit=1000").expect(200);
    assert!(page.body.len() <= 256 << 10, "{} bytes", page.body.len());
    let mut following = Some("/search/heavy?limit=1000".to_owned());
    let mut ids = Vec::new();
    while let Some(path) = following {
        let page = customer.get(&path).expect(200).json();
        ids.extend(page["items"].as_array().unwrap().iter().map(|book| book["id"].as_u64().unwrap()));
        following = page["next"].as_str().map(str::to_owned);
    }
    assert!(ids.iter().copied().eq(1..=LONG_TITLES), "{} books are listed", ids.len());

    let crowd = greedy_crowd(&cluster, 300, |number| format!("/search/heavy?limit=1000&after={number}"));
    assert_serves_at_once(&cluster);
    drop(crowd);
}

fn heavy_shop() -> Cluster {
    let cluster = Cluster::alone(1, 3, 1);
    let mut seed = "id,topic,title,price,quantity\n".to_owned();
    let long = "x".repeat(1000);
    (1..=LONG_TITLES).for_each(|id| writeln!(seed, "{id},heavy,{id:04} {long},10,100").unwrap());
    fs::write(cluster.path("catalog.csv"), seed).unwrap();
    cluster.open()
}

/// So many pages are more than a node holds for customers who do not take them.
const PAGES: u64 = 1300;

#[test]
fn what_customers_do_not_take_is_bounded_together_whether_it_is_cached_or_not() {
    raise_descriptor_limit();
    let cluster = heavy_shop();
    let mut customer = cluster.client("frontend-1");
    let page = "/search/heavy?limit=1000";
    until("the page is cached", || customer.get(page).expect(200).is_hit());
    for (is_cached, path) in [(true, page), (false, "/search/heavy?limit=1000&after=")] {
        let path =
            |number: u64| if is_cached { path.to_owned() } else { format!("{path}{}", number % (LONG_TITLES / 2)) };
        let crowd = greedy_crowd(&cluster, PAGES, path);
        let refused = |mut stream: &TcpStream| {
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            &status == b"HTTP/1.1 503"
        };
        let refused = crowd.iter().filter(|stream| refused(stream)).count();
        assert!((1..PAGES as usize / 2).contains(&refused), "{refused} are refused, cached: {is_cached}");
        assert_serves_at_once(&cluster);
        drop(crowd);
        until("there is room again", || customer.get(page).status == 200);
    }
}

#[test]
fn a_crowd_that_asks_how_the_cluster_is_shares_what_one_finds_out() {
    let cluster = Cluster::alone(1, 3, 3).set("log.level", "info,bazar::http=debug").open();
    for (path, asked) in [("/cluster", "/cluster"), ("/ready", "/internal/v1/standing")] {
        let questions = |cluster: &Cluster| cluster.log("catalog-1").matches(asked).count();
        let before = questions(&cluster);
        let crowd = greedy_crowd(&cluster, 300, |_| path.to_owned());
        assert_serves_at_once(&cluster);
        for mut stream in crowd {
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            assert_eq!(&status, b"HTTP/1.1 200", "{path}");
        }
        let questions = questions(&cluster) - before;
        assert!(questions < 100, "{questions} questions for 300 times {path}");
    }
}

/// Customers who each ask a frontend for something, and do not take it.
fn greedy_crowd(cluster: &Cluster, count: u64, path: impl Fn(u64) -> String) -> Vec<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let address = cluster.address("frontend-1");
    let connect = async || {
        let socket = tokio::net::TcpSocket::new_v4()?;
        // Else the system takes the answers for them.
        socket.set_recv_buffer_size(4096)?;
        let stream = socket.connect(address).await?.into_std()?;
        stream.set_nonblocking(false)?;
        Ok::<_, std::io::Error>(stream)
    };
    let ask = |number| {
        let mut stream = runtime.block_on(connect()).unwrap();
        write!(stream, "GET {} HTTP/1.1\r\nHost: a\r\n\r\n", path(number)).unwrap();
        stream
    };
    (0..count).map(ask).collect()
}

fn assert_serves_at_once(cluster: &Cluster) {
    let mut customer = cluster.client("frontend-1");
    for (method, path) in [("GET", "/health"), ("POST", "/purchase/7"), ("GET", "/info/2"), ("GET", "/search/theory")] {
        let asked = Instant::now();
        let answer = customer.ask(&format!("{method} {path}")).send();
        assert!(answer.status < 300 && asked.elapsed() < PATIENCE, "{path}: {:?} {answer:?}", asked.elapsed());
    }
}
