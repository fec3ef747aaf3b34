-- A ledger of schema version 1, written by swangpu before the profiles came.
BEGIN TRANSACTION;
CREATE TABLE demand (
	id INTEGER NOT NULL, 
	at DOUBLE NOT NULL, 
	user VARCHAR(255) NOT NULL, 
	outcome VARCHAR(32) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	pool VARCHAR(255), 
	flavor VARCHAR(255), 
	memory_bytes BIGINT, 
	count INTEGER NOT NULL, 
	duration_s DOUBLE, 
	waited_s DOUBLE, 
	project VARCHAR(255), 
	session_id VARCHAR(64), 
	reason_code VARCHAR(64), 
	PRIMARY KEY (id)
);
INSERT INTO "demand" VALUES(1,10.0,'alice','granted','kernel',NULL,'t4',NULL,1,NULL,5.0,NULL,NULL,NULL);
CREATE TABLE journal (
	seq INTEGER NOT NULL, 
	now DOUBLE NOT NULL, 
	policy_version INTEGER NOT NULL, 
	event TEXT NOT NULL, 
	commands TEXT NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "journal" VALUES(2,1002.0,1,'eeeeeeeeee','cccccccccc');
INSERT INTO "journal" VALUES(3,1003.0,1,'eeeeeeeeee','cccccccccc');
CREATE TABLE schema_version (
	version INTEGER NOT NULL
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE snapshot (
	seq INTEGER NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	state TEXT NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "snapshot" VALUES(1,'2780e2d008eba4f8b30ac02f5ec0a66ce5285a29bb2d1a6c0164ea2c7dd17544','state 1');
CREATE TABLE usage (
	session_id VARCHAR(64) NOT NULL, 
	user VARCHAR(255) NOT NULL, 
	project VARCHAR(255), 
	kind VARCHAR(32) NOT NULL, 
	pool VARCHAR(255) NOT NULL, 
	flavor VARCHAR(255) NOT NULL, 
	count INTEGER NOT NULL, 
	memory_bytes BIGINT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	started_at DOUBLE NOT NULL, 
	ended_at DOUBLE NOT NULL, 
	held_s DOUBLE NOT NULL, 
	busy_s DOUBLE, 
	end_reason VARCHAR(32) NOT NULL, 
	simulated BOOLEAN NOT NULL, 
	PRIMARY KEY (session_id)
);
INSERT INTO "usage" VALUES('a','alice',NULL,'kernel','local','t4',1,16,0.0,1.0,100.0,60.0,30.0,'released',0);
INSERT INTO "usage" VALUES('b','bob',NULL,'kernel','local','t4',1,16,0.0,1.0,100.0,60.0,30.0,'released',0);
CREATE INDEX usage_ended_at ON usage (ended_at);
CREATE INDEX demand_at ON demand (at);
COMMIT;
