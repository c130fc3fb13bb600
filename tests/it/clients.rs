//! The clients that people use: redis-cli, redis-benchmark, redis-py, curl and nc, as they come from Debian and PyPI.

use crate::harness::{Server, curl, input, nc, python, redis_cli, run};

fn server() -> Server {
    Server::start(&["--workers", "4"])
}

#[test]
fn redis_cli_speaks_both_protocols() {
    let server = server();
    for protocol in [&[] as &[&str], &["-3"]] {
        let cli = |args: &[&str]| redis_cli(server.resp(), &[protocol, args].concat()).text();
        assert_eq!(cli(&["PING"]), "PONG\n");
        assert_eq!(cli(&["SET", "greeting", "hello world"]), "OK\n");
        assert_eq!(cli(&["GET", "greeting"]), "hello world\n");
        assert_eq!(cli(&["DEL", "n"]).len(), 2);
        assert_eq!(cli(&["INCR", "n"]), "1\n");
        assert_eq!(cli(&["TABLE.MAKE", "users", "16", "name", "string", "32", "score", "int"]), "OK\n");
        assert_eq!(cli(&["TABLE.SET", "users", "u1", "name", "alice", "score", "100"]), "OK\n");
        let row = cli(&["TABLE.GET", "users", "u1"]);
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words, ["name", "alice", "score", "100"], "{row}");
        assert_eq!(cli(&["TABLE.INCR", "users", "u1", "score", "5"]), "105\n");
        assert_eq!(cli(&["COUNTER.SET", "hits", "41"]), "OK\n");
        assert_eq!(cli(&["COUNTER.INCR", "hits"]), "42\n");
        let error = cli(&["TABLE.GET", "nosuch", "u1"]);
        assert!(error.contains("NOTABLE"), "{error}");
        assert!(cli(&["INFO"]).contains("# Server"));
        assert!(cli(&["CLIENT", "LIST"]).contains("addr="));
        assert!(cli(&["COMMAND", "DOCS", "get"]).contains("summary"));
    }
}

#[test]
fn redis_cli_reads_commands_from_a_pipe() {
    let server = server();
    let (host, port) = (server.resp().ip().to_string(), server.resp().port().to_string());
    let script = b"SET a 1\nINCR a\nMGET a none\nTABLE.LIST\nCONFIG GET maxclients\n";
    let out = input("redis-cli", &["-h", &host, "-p", &port], script).text();
    assert_eq!(out, "OK\n2\n2\n\n\nmaxclients\n10000\n");
    // Mass insertion, as its manual describes it.
    let mass: Vec<u8> =
        (0..1000).flat_map(|i| format!("*3\r\n$3\r\nSET\r\n$4\r\n{i:04}\r\n$1\r\nx\r\n").into_bytes()).collect();
    let out = input("redis-cli", &["-h", &host, "-p", &port, "--pipe"], &mass).text();
    assert!(out.contains("errors: 0, replies: 1000"), "{out}");
    let scan = redis_cli(server.resp(), &["--scan", "--pattern", "00*"]).text();
    assert_eq!(scan.lines().count(), 100);
    let big = redis_cli(server.resp(), &["--bigkeys"]).text();
    assert!(big.contains("Sampled 1001 keys"), "{big}");
}

#[test]
fn redis_cli_with_a_password() {
    let server = Server::start(&["--workers", "1", "--requirepass", "s3cret"]);
    let cli = |args: &[&str]| redis_cli(server.resp(), args);
    assert!(cli(&["GET", "a"]).stdout.contains("NOAUTH"));
    assert_eq!(cli(&["-a", "s3cret", "--no-auth-warning", "SET", "a", "1"]).text(), "OK\n");
    assert_eq!(cli(&["-3", "-a", "s3cret", "--no-auth-warning", "GET", "a"]).text(), "1\n");
}

#[test]
fn redis_benchmark_runs() {
    let server = server();
    let (host, port) = (server.resp().ip().to_string(), server.resp().port().to_string());
    for pipeline in ["1", "16"] {
        let args = [
            "-h",
            &host,
            "-p",
            &port,
            "-t",
            "set,get,incr",
            "-n",
            "20000",
            "-c",
            "16",
            "-P",
            pipeline,
            "-r",
            "1000",
            "--csv",
        ];
        let out = run("redis-benchmark", &args);
        let (text, errors) = (out.stdout.clone(), out.stderr.clone());
        out.text();
        for test in ["\"SET\"", "\"GET\"", "\"INCR\""] {
            assert!(text.contains(test), "{text} {errors}");
        }
        assert!(!text.contains("Error") && !errors.contains("Error"), "{text} {errors}");
    }
    assert!(redis_cli(server.resp(), &["DBSIZE"]).text().trim().parse::<u64>().unwrap() > 100);
}

#[test]
fn redis_py_works() {
    let server = server();
    let (host, port) = (server.resp().ip().to_string(), server.resp().port().to_string());
    for protocol in ["2", "3"] {
        let out = python("tests/it/py/redis_client.py", &[&host, &port, protocol]);
        assert_eq!(out.code, Some(0), "{}\n{}", out.stdout, out.stderr);
        assert_eq!(out.stdout.trim(), "ok");
    }
}

#[test]
fn curl_speaks_to_every_kind_of_data() {
    let server = server();
    let call = |args: &[&str], path: &str| curl(server.http(), args, path).text();
    let json = ["-H", "content-type: application/json", "-d"];
    let table = r#"{"name":"demo_table","rows":128,"columns":[{"name":"name","type":"string","size":64},{"name":"score","type":"int"}]}"#;
    let made = call(&[&json[..], &[table]].concat(), "/tables");
    assert!(made.contains(r#""name":"demo_table""#), "{made}");
    assert_eq!(
        call(&[&json[..], &[r#"{"name":"alice","score":100}"#, "-X", "PUT"]].concat(), "/tables/demo_table/rows/u1"),
        ""
    );
    assert_eq!(call(&[], "/tables/demo_table/rows/u1"), r#"{"name":"alice","score":100}"#);
    assert_eq!(
        call(&[&json[..], &[r#"{"column":"score","by":5}"#]].concat(), "/tables/demo_table/rows/u1/incr"),
        r#"{"value":105}"#
    );
    assert_eq!(call(&["-X", "POST"], "/counters/hits/incr"), r#"{"value":1}"#);
    assert_eq!(call(&["-T", "-", "-H", "Expect:"], "/kv/empty"), "");
    assert_eq!(call(&["-X", "PUT", "--data-binary", "any bytes"], "/kv/greeting"), "");
    assert_eq!(call(&[], "/kv/greeting"), "any bytes");
    let missing = curl(server.http(), &["-w", " %{http_code}"], "/kv/none").text();
    assert!(missing.contains("key_not_found") && missing.ends_with(" 404"), "{missing}");
    let head = call(&["-I"], "/tables/demo_table/rows/u1");
    assert!(head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("x-store-worker: "), "{head}");
    // A body large enough for curl to ask first with `Expect: 100-continue`.
    let large = std::env::temp_dir().join(format!("store-master-it-{}.bin", std::process::id()));
    std::fs::write(&large, vec![7; 3 << 20]).unwrap();
    let data = format!("@{}", large.display());
    assert_eq!(call(&["-X", "PUT", "--data-binary", &data, "-H", "Expect: 100-continue"], "/kv/large"), "");
    assert_eq!(call(&["-o", large.to_str().unwrap(), "-w", "%{size_download}"], "/kv/large"), (3 << 20).to_string());
    std::fs::remove_file(large).unwrap();
}

#[test]
fn nc_is_enough() {
    let server = server();
    assert_eq!(nc(server.resp(), "PING\r\n").text(), "+PONG\r\n");
    let text = nc(server.resp(), "TABLE.MAKE t 4 n int\r\nTABLE.INCR t row n 5\r\nTABLE.GET t row\r\n").text();
    assert_eq!(text, "+OK\r\n:5\r\n*2\r\n$1\r\nn\r\n:5\r\n");
    let web =
        nc(server.http(), "GET /tables/t/rows/row HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").text();
    assert!(web.starts_with("HTTP/1.1 200 OK\r\n") && web.ends_with("\r\n\r\n{\"n\":5}"), "{web}");
}
