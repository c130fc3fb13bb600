//! Dialogues about commands.

use crate::command::{
    table,
    testing::{Server, check},
};

#[test]
fn commands_are_described() {
    let server = Server::new();
    assert_eq!(server.run("COMMAND COUNT"), format!(":{}", table::count()));
    assert!(server.run("COMMAND").starts_with(&format!("*{} *10 $3 get :2 ", table::count())));
    check(
        &server,
        &[
            (
                "COMMAND INFO get none",
                "*2 *10 $3 get :2 *2 +readonly +fast :1 :1 :1 *3 +@read +@string +@fast *0 *1 *6 $5 flags *2 +RO +access $12 \
             begin_search *4 $4 type $5 index $4 spec *2 $5 index :1 $9 find_keys *4 $4 type $5 range $4 spec *6 $7 \
             lastkey :0 $7 keystep :1 $5 limit :0 *0 $-1",
            ),
            ("COMMAND LIST FILTERBY PATTERN getr*", "*1 $8 getrange"),
            ("COMMAND LIST FILTERBY MODULE x", "*0"),
            ("COMMAND LIST FILTERBY FOO x", "-ERR syntax error"),
            ("COMMAND FOO", "-ERR unknown subcommand 'FOO'. Try COMMAND HELP."),
        ],
    );
    assert!(server.run("COMMAND LIST FILTERBY ACLCAT counter").starts_with("*10 $12 counter.incr "));
    assert!(server.run("COMMAND INFO config|get").starts_with("*1 *10 $10 config|get :-3 "));
    assert!(server.run3("COMMAND INFO get").contains("~2 +readonly +fast"));
    assert!(
        server.run("COMMAND INFO msetex").starts_with("*1 *10 $6 msetex :-4 *3 +write +denyoom +movablekeys :0 :0 :0 ")
    );
    assert_eq!(server.run("COMMAND LIST FILTERBY PATTERN config|g*"), "*1 $10 config|get");
    assert_eq!(server.run("COMMAND LIST FILTERBY ACLCAT nothing"), "*0");
}

#[test]
fn keys_of_commands_are_found() {
    check(
        &Server::new(),
        &[
            ("COMMAND GETKEYS set a b", "*1 $1 a"),
            ("COMMAND GETKEYS mset a 1 b 2", "*2 $1 a $1 b"),
            ("COMMAND GETKEYS rename a b", "*2 $1 a $1 b"),
            ("COMMAND GETKEYS ping x", "-ERR The command has no key arguments"),
            ("COMMAND GETKEYS none x", "-ERR Invalid command specified"),
            ("COMMAND GETKEYS get a b", "-ERR Invalid number of arguments specified for command"),
            ("COMMAND GETKEYS msetex 2 a 1 b 2 NX", "*2 $1 a $1 b"),
            ("COMMAND GETKEYS msetex 3 a 1 b 2 NX", "-ERR Invalid arguments specified for command"),
            ("COMMAND GETKEYS object encoding a", "*1 $1 a"),
            ("COMMAND GETKEYS object nothing a", "-ERR Invalid command specified"),
            ("COMMAND GETKEYS eval script 2 a b c", "*2 $1 a $1 b"),
            ("COMMAND GETKEYS eval script 0", "*0"),
            ("COMMAND GETKEYSANDFLAGS eval script 0", "*0"),
            ("COMMAND GETKEYS fcall_ro f 3 a", "*0"),
            ("COMMAND GETKEYS lmpop 0 a left", "-ERR Invalid arguments specified for command"),
            ("COMMAND GETKEYS zunionstore d 2 a b", "*3 $1 d $1 a $1 b"),
            ("COMMAND GETKEYS blpop a b 0", "*2 $1 a $1 b"),
            ("COMMAND GETKEYS lmove a b left", "-ERR Invalid number of arguments specified for command"),
            ("COMMAND GETKEYSANDFLAGS lmove a b left left", "*2 *2 $1 a *3 +RW +access +delete *2 $1 b *2 +RW +insert"),
            ("COMMAND GETKEYS spublish a b", "-ERR Invalid arguments specified for command"),
            ("COMMAND GETKEYSANDFLAGS set a b", "*1 *2 $1 a *2 +OW +update"),
            ("COMMAND GETKEYSANDFLAGS set a b get", "*1 *2 $1 a *3 +RW +access +update"),
            ("COMMAND GETKEYSANDFLAGS bitfield a get u8 0", "*1 *2 $1 a *2 +RO +access"),
            ("COMMAND GETKEYSANDFLAGS bitfield a set u8 0 1", "*1 *2 $1 a *3 +RW +access +update"),
            (
                "COMMAND GETKEYSANDFLAGS bitop or d a b",
                "*3 *2 $1 d *2 +OW +update *2 $1 a *2 +RO +access *2 $1 b *2 +RO +access",
            ),
        ],
    );
}

#[test]
fn documentation_names_the_arguments() {
    let server = Server::new();
    let docs = server.run3("COMMAND DOCS set");
    assert!(docs.starts_with("%1 $3 set %5 $7 summary "), "{docs}");
    for part in [
        "%4 $4 name $3 key $4 type $3 key $12 display_text $3 key $14 key_spec_index :0",
        "$4 type $5 oneof $5 flags ~1 +optional $9 arguments *4 %4 $4 name $2 nx $4 type $10 pure-token $12 display_text $2 nx \
         $5 token $2 NX",
        "%4 $4 name $7 seconds $4 type $7 integer $12 display_text $7 seconds $5 token $2 EX",
    ] {
        assert!(docs.contains(part), "{part}\nin {docs}");
    }
    let mset = server.run("COMMAND DOCS mset");
    assert!(mset.contains("$4 type $5 block $5 flags *1 +multiple $9 arguments *2 "), "{mset}");
    assert!(server.run("COMMAND DOCS client").contains("$11 subcommands *"));
    assert_eq!(server.run("COMMAND DOCS none"), "*0");
    assert!(server.run("COMMAND DOCS").starts_with(&format!("*{} ", 2 * table::count())));
}

#[test]
fn help_lists_the_subcommands() {
    let help = Server::new().run("CLIENT HELP");
    assert!(help.starts_with("*") && help.contains("SETNAME connection-name"), "{help}");
}
