-- A database of schema 5, as the code of that version left it; version_5.json is what it read from it.
PRAGMA user_version = 5;
BEGIN TRANSACTION;
CREATE TABLE checkpoint_writes (
	run_id VARCHAR NOT NULL, 
	namespace VARCHAR NOT NULL, 
	checkpoint_id VARCHAR NOT NULL, 
	task_id VARCHAR NOT NULL, 
	position INTEGER NOT NULL, 
	task_path VARCHAR NOT NULL, 
	channel VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	value BLOB NOT NULL, 
	PRIMARY KEY (run_id, namespace, checkpoint_id, task_id, position)
)
 WITHOUT ROWID

;
INSERT INTO "checkpoint_writes" VALUES('run 2','','c1','t1',-1,'~pull','messages','msgpack',X'77');
INSERT INTO "checkpoint_writes" VALUES('run 2','','c1','t1',0,'~pull','messages','msgpack',X'77');
CREATE TABLE checkpoints (
	run_id VARCHAR NOT NULL, 
	namespace VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	parent_id VARCHAR, 
	kind VARCHAR NOT NULL, 
	value BLOB NOT NULL, 
	metadata BLOB NOT NULL, 
	PRIMARY KEY (run_id, namespace, id)
)
 WITHOUT ROWID

;
INSERT INTO "checkpoints" VALUES('run 2','','c1',NULL,'msgpack',X'7374617465',X'7B7D');
CREATE TABLE events (
	thread_id VARCHAR NOT NULL, 
	seq INTEGER NOT NULL, 
	run_id VARCHAR, 
	attempt INTEGER NOT NULL, 
	type VARCHAR NOT NULL, 
	at INTEGER NOT NULL, 
	payload BLOB NOT NULL, 
	PRIMARY KEY (thread_id, seq)
)
 WITHOUT ROWID

;
INSERT INTO "events" VALUES('01a21bea-4c70-72d8-9362-aad1015eed6c',1,'run 1',1,'start',1,X'');
INSERT INTO "events" VALUES('01a21bea-4c70-72d8-9362-aad1015eed6c',2,'run 1',1,'text',90,X'73616964');
INSERT INTO "events" VALUES('01a21bea-4c70-72d8-9362-aad1015eed6c',3,'run 1',1,'end',90,X'');
INSERT INTO "events" VALUES('01a21bea-4c70-72d8-9362-aad1015eed6c',4,'run 3',1,'start',1,X'');
INSERT INTO "events" VALUES('01a21bea-4c70-72d8-9362-aad1015eed6c',5,'run 4',1,'start',1,X'');
INSERT INTO "events" VALUES('01a21bea-4c70-72d8-9362-aad1015eed6c',6,'run 3',1,'text',60,X'73616964');
INSERT INTO "events" VALUES('01a21bea-4c70-72d8-9362-aad1015eed6c',7,'run 3',1,'end',60,X'');
INSERT INTO "events" VALUES('01a21bea-4c76-75ad-b9b0-325ad8c67d24',1,'run 2',1,'start',1,X'');
INSERT INTO "events" VALUES('01a21bea-4c76-75ad-b9b0-325ad8c67d24',2,'run 2',1,'note',1,X'30');
INSERT INTO "events" VALUES('01a21bea-4c76-75ad-b9b0-325ad8c67d24',3,'run 2',1,'note',1,X'31');
INSERT INTO "events" VALUES('01a21bea-4c76-75ad-b9b0-325ad8c67d24',4,'run 5',1,'start',1,X'');
INSERT INTO "events" VALUES('01a21bea-4c76-75ad-b9b0-325ad8c67d24',5,'run 2',1,'ask',1,X'30');
INSERT INTO "events" VALUES('01a21bea-4c76-75ad-b9b0-325ad8c67d24',6,'run 2',1,'told',1,X'30');
INSERT INTO "events" VALUES('01a21bea-4c76-75ad-b9b0-325ad8c67d24',7,'run 2',1,'ask',1,X'30');
CREATE TABLE flow_revisions (
	agent_id VARCHAR NOT NULL, 
	revision INTEGER NOT NULL, 
	definition BLOB NOT NULL, 
	at INTEGER NOT NULL, 
	PRIMARY KEY (agent_id, revision)
)
 WITHOUT ROWID

;
INSERT INTO "flow_revisions" VALUES('flow',1,X'6F6E65',1);
INSERT INTO "flow_revisions" VALUES('flow',2,X'74776F',2);
CREATE TABLE flows (
	agent_id VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	draft INTEGER NOT NULL, 
	published INTEGER, 
	created_at INTEGER NOT NULL, 
	updated_at INTEGER NOT NULL, 
	PRIMARY KEY (agent_id)
);
INSERT INTO "flows" VALUES('flow','ada',2,2,1,3);
CREATE TABLE graph_states (
	thread_id VARCHAR NOT NULL, 
	graph VARCHAR NOT NULL, 
	message_id VARCHAR NOT NULL, 
	value BLOB NOT NULL, 
	PRIMARY KEY (thread_id, graph, message_id)
);
INSERT INTO "graph_states" VALUES('01a21bea-4c70-72d8-9362-aad1015eed6c','team','98 answer',X'6B657074');
CREATE TABLE messages (
	id VARCHAR NOT NULL, 
	thread_id VARCHAR NOT NULL, 
	run_id VARCHAR, 
	role VARCHAR NOT NULL, 
	content TEXT NOT NULL, 
	parent_id VARCHAR, 
	author VARCHAR, 
	partial BOOLEAN NOT NULL, 
	created_at INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "messages" VALUES('98 asked','01a21bea-4c70-72d8-9362-aad1015eed6c','run 1','user','hello',NULL,'ada',0,100);
INSERT INTO "messages" VALUES('98 answer','01a21bea-4c70-72d8-9362-aad1015eed6c','run 1','assistant','answer of run 1','98 asked',NULL,0,90);
INSERT INTO "messages" VALUES('97 asked','01a21bea-4c76-75ad-b9b0-325ad8c67d24','run 2','user','hello',NULL,'bob',0,50);
INSERT INTO "messages" VALUES('97 answer','01a21bea-4c76-75ad-b9b0-325ad8c67d24','run 2','assistant','sure?','97 asked',NULL,0,51);
INSERT INTO "messages" VALUES('96 asked','01a21bea-4c70-72d8-9362-aad1015eed6c','run 3','user','hello','98 answer','ada',0,80);
INSERT INTO "messages" VALUES('96 answer','01a21bea-4c70-72d8-9362-aad1015eed6c','run 3','assistant','answer of run 3','96 asked',NULL,0,60);
INSERT INTO "messages" VALUES('95 asked','01a21bea-4c70-72d8-9362-aad1015eed6c','run 4','user','hello','98 answer','ada',0,70);
INSERT INTO "messages" VALUES('95 answer','01a21bea-4c70-72d8-9362-aad1015eed6c','run 4','assistant','','95 asked',NULL,1,70);
INSERT INTO "messages" VALUES('94 asked','01a21bea-4c76-75ad-b9b0-325ad8c67d24','run 5','user','hello','05 after yes','bob',0,40);
INSERT INTO "messages" VALUES('94 answer','01a21bea-4c76-75ad-b9b0-325ad8c67d24','run 5','assistant','','94 asked',NULL,1,40);
INSERT INTO "messages" VALUES('10 yes','01a21bea-4c76-75ad-b9b0-325ad8c67d24','run 2','user','yes','97 answer','ada',0,30);
INSERT INTO "messages" VALUES('05 after yes','01a21bea-4c76-75ad-b9b0-325ad8c67d24','run 2','assistant','','10 yes',NULL,1,30);
CREATE TABLE positions (
	user_id VARCHAR NOT NULL, 
	dialect VARCHAR NOT NULL, 
	connection VARCHAR NOT NULL, 
	run_id VARCHAR NOT NULL, 
	seq FLOAT NOT NULL, 
	PRIMARY KEY (user_id, dialect, connection)
)
 WITHOUT ROWID

;
INSERT INTO "positions" VALUES('ada','chat','c','run 1',2.02);
CREATE TABLE profiles (
	user_id VARCHAR NOT NULL, 
	value BLOB NOT NULL, 
	updated_at INTEGER NOT NULL, 
	PRIMARY KEY (user_id)
);
INSERT INTO "profiles" VALUES('ada',X'70726F66696C65',4);
CREATE TABLE requests (
	user_id VARCHAR NOT NULL, 
	"key" VARCHAR NOT NULL, 
	digest BLOB NOT NULL, 
	run_id VARCHAR NOT NULL, 
	PRIMARY KEY (user_id, "key")
);
INSERT INTO "requests" VALUES('ada','key',X'646967657374','run 1');
INSERT INTO "requests" VALUES('bob','k2',X'6432','run 2');
CREATE TABLE revocations (
	kind VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	at INTEGER NOT NULL, 
	PRIMARY KEY (kind, value)
);
INSERT INTO "revocations" VALUES('user','eve',5);
CREATE TABLE runs (
	id VARCHAR NOT NULL, 
	thread_id VARCHAR NOT NULL, 
	user_id VARCHAR NOT NULL, 
	graph VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	input BLOB NOT NULL, 
	input_message_id VARCHAR NOT NULL, 
	reply_message_id VARCHAR NOT NULL, 
	attempt INTEGER NOT NULL, 
	charges INTEGER NOT NULL, 
	crashes INTEGER NOT NULL, 
	lease_epoch INTEGER NOT NULL, 
	owner VARCHAR, 
	emitted INTEGER NOT NULL, 
	first_seq INTEGER NOT NULL, 
	last_seq INTEGER, 
	cancel_requested_by VARCHAR, 
	result BLOB, 
	created_at INTEGER NOT NULL, 
	finished_at INTEGER, 
	PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES('run 1','01a21bea-4c70-72d8-9362-aad1015eed6c','ada','team','completed',X'7B7D','98 asked','98 answer',1,1,0,1,NULL,3,1,3,NULL,X'726573756C74',100,90);
INSERT INTO "runs" VALUES('run 2','01a21bea-4c76-75ad-b9b0-325ad8c67d24','bob','team','interrupted',X'7B7D','97 asked','05 after yes',1,1,0,2,NULL,6,1,NULL,NULL,NULL,50,NULL);
INSERT INTO "runs" VALUES('run 3','01a21bea-4c70-72d8-9362-aad1015eed6c','ada','team','completed',X'7B7D','96 asked','96 answer',1,1,0,1,NULL,3,4,7,'ada',X'726573756C74',80,60);
INSERT INTO "runs" VALUES('run 4','01a21bea-4c70-72d8-9362-aad1015eed6c','ada','team','running',X'7B7D','95 asked','95 answer',1,1,0,1,'w',1,5,NULL,NULL,NULL,70,NULL);
INSERT INTO "runs" VALUES('run 5','01a21bea-4c76-75ad-b9b0-325ad8c67d24','bob','team','queued',X'7B7D','94 asked','94 answer',0,0,0,0,NULL,1,4,NULL,NULL,NULL,40,NULL);
CREATE TABLE store_items (
	revision INTEGER NOT NULL, 
	namespace VARCHAR NOT NULL, 
	"key" VARCHAR NOT NULL, 
	created_at INTEGER NOT NULL, 
	updated_at INTEGER NOT NULL, 
	ttl INTEGER, 
	expires_at INTEGER, 
	embedder VARCHAR, 
	value BLOB NOT NULL, 
	vectors BLOB, 
	PRIMARY KEY (revision), 
	UNIQUE (namespace, "key")
);
INSERT INTO "store_items" VALUES(1,'a.b','k',6,6,10,16,'e',X'7B7D',X'31323334');
INSERT INTO "store_items" VALUES(2,'a','j',6,6,NULL,NULL,NULL,X'5B5D',NULL);
CREATE TABLE thread_names (
	user_id VARCHAR NOT NULL, 
	namespace VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	thread_id VARCHAR NOT NULL, 
	PRIMARY KEY (user_id, namespace, name)
);
INSERT INTO "thread_names" VALUES('ada','chat','mine','01a21bea-4c70-72d8-9362-aad1015eed6c');
CREATE TABLE thread_states (
	thread_id VARCHAR NOT NULL, 
	value BLOB NOT NULL, 
	PRIMARY KEY (thread_id)
);
INSERT INTO "thread_states" VALUES('01a21bea-4c70-72d8-9362-aad1015eed6c',X'6C656674');
CREATE TABLE threads (
	id VARCHAR NOT NULL, 
	user_id VARCHAR NOT NULL, 
	title VARCHAR, 
	created_at INTEGER NOT NULL, 
	updated_at INTEGER NOT NULL, 
	last_seq INTEGER NOT NULL, 
	head_message_id VARCHAR, 
	PRIMARY KEY (id)
);
INSERT INTO "threads" VALUES('01a21bea-4c70-72d8-9362-aad1015eed6c','ada',NULL,100,60,7,'95 answer');
INSERT INTO "threads" VALUES('01a21bea-4c76-75ad-b9b0-325ad8c67d24','bob',NULL,50,30,7,'94 answer');
CREATE TABLE tickets (
	digest BLOB NOT NULL, 
	holder BLOB NOT NULL, 
	expires_at INTEGER NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "tickets" VALUES(X'7469636B6574',X'686F6C646572',10);
CREATE TABLE usage (
	user_id VARCHAR NOT NULL, 
	day INTEGER NOT NULL, 
	tokens INTEGER NOT NULL, 
	PRIMARY KEY (user_id, day)
);
INSERT INTO "usage" VALUES('ada',0,21);
CREATE TABLE workers (
	id VARCHAR NOT NULL, 
	seen_at INTEGER NOT NULL, 
	boot_id VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX threads_by_user ON threads (user_id, updated_at);
CREATE INDEX messages_by_thread ON messages (thread_id, created_at);
CREATE INDEX runs_by_thread ON runs (thread_id, first_seq);
CREATE INDEX runs_by_status ON runs (status, owner);
CREATE INDEX store_items_by_end ON store_items (expires_at);
CREATE INDEX flows_by_owner ON flows (owner, updated_at);
COMMIT;
