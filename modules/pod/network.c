// The network of a pod, by netlink: an address, a route, and one rule of nftables.
#include "network.h"

#include "error.h"

#include <arpa/inet.h>
#include <errno.h>
#include <lauxlib.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// --- messages -----------------------------------------------------------------------------------

enum { CLUSTER_NET = 10, CLUSTER_BITS = 8 };  // pods, services and nodes are all in 10.0.0.0/8

struct batch {
  size_t length;
  uint32_t sequence;
  int answers;  // how many messages ask for one
  _Alignas(struct nlmsghdr) unsigned char bytes[4096];
};

static void *take(struct batch *batch, size_t size) {
  void *place = batch->bytes + batch->length;
  memset(place, 0, NLMSG_ALIGN(size));
  batch->length += NLMSG_ALIGN(size);
  return place;
}

static struct nlmsghdr *begin(struct batch *batch, int type, int flags, bool answered) {
  struct nlmsghdr *message = take(batch, sizeof *message);
  message->nlmsg_type = (uint16_t)type;
  message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags | (answered ? NLM_F_ACK : 0));
  message->nlmsg_seq = ++batch->sequence;
  batch->answers += answered;
  return message;
}

static void end(const struct batch *batch, struct nlmsghdr *message) {
  message->nlmsg_len = (uint32_t)(batch->bytes + batch->length - (unsigned char *)message);
}

static void put(struct batch *batch, int type, const void *value, size_t size) {
  struct rtattr *attribute = take(batch, RTA_LENGTH(size));
  attribute->rta_type = (uint16_t)type;
  attribute->rta_len = (uint16_t)RTA_LENGTH(size);
  memcpy(RTA_DATA(attribute), value, size);
}

static void put_text(struct batch *batch, int type, const char *text) {
  put(batch, type, text, strlen(text) + 1);
}

static void put_number(struct batch *batch, int type, uint32_t number) {
  uint32_t value = htonl(number);
  put(batch, type, &value, sizeof value);
}

static struct rtattr *open_nest(struct batch *batch, int type) {
  struct rtattr *attribute = take(batch, sizeof *attribute);
  attribute->rta_type = (uint16_t)(type | NLA_F_NESTED);
  return attribute;
}

static void close_nest(const struct batch *batch, struct rtattr *attribute) {
  attribute->rta_len = (uint16_t)(batch->bytes + batch->length - (unsigned char *)attribute);
}

// Sends a batch and reads the answers; 0, or the errno that one of them carries.
static int send_batch(int protocol, const struct batch *batch) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) return errno;
  int number = send(fd, batch->bytes, batch->length, 0) < 0 ? errno : 0;
  for (int left = batch->answers; number == 0 && left > 0;) {
    _Alignas(struct nlmsghdr) unsigned char answer[8192];
    ssize_t count = recv(fd, answer, sizeof answer, 0);
    if (count < 0) number = errno;
    size_t size = count > 0 ? (size_t)count : 0;
    for (struct nlmsghdr *m = (void *)answer; NLMSG_OK(m, size); m = NLMSG_NEXT(m, size)) {
      if (m->nlmsg_type != NLMSG_ERROR) continue;
      const struct nlmsgerr *error = NLMSG_DATA(m);
      if (error->error != 0) number = -error->error;
      left--;
    }
  }
  close(fd);
  return number;
}

// --- the address and the way --------------------------------------------------------------------

static int add_address(const struct in_addr *address) {
  struct batch batch = {0};
  struct nlmsghdr *message = begin(&batch, RTM_NEWADDR, NLM_F_CREATE, true);
  struct ifaddrmsg *head = take(&batch, sizeof *head);
  head->ifa_family = AF_INET;
  head->ifa_prefixlen = 32;
  head->ifa_index = if_nametoindex("lo");
  put(&batch, IFA_LOCAL, address, sizeof *address);
  put(&batch, IFA_ADDRESS, address, sizeof *address);
  end(&batch, message);
  return send_batch(NETLINK_ROUTE, &batch);
}

// Every address of the cluster counts as one of this machine: packets stay on lo.
static int add_route(const struct in_addr *address) {
  struct batch batch = {0};
  struct nlmsghdr *message = begin(&batch, RTM_NEWROUTE, NLM_F_CREATE, true);
  struct rtmsg *head = take(&batch, sizeof *head);
  *head = (struct rtmsg){.rtm_family = AF_INET, .rtm_dst_len = CLUSTER_BITS,
                         .rtm_table = RT_TABLE_LOCAL, .rtm_protocol = RTPROT_STATIC,
                         .rtm_scope = RT_SCOPE_HOST, .rtm_type = RTN_LOCAL};
  struct in_addr net = {.s_addr = htonl((uint32_t)CLUSTER_NET << 24)};
  int lo = (int)if_nametoindex("lo");
  put(&batch, RTA_DST, &net, sizeof net);
  put(&batch, RTA_OIF, &lo, sizeof lo);
  put(&batch, RTA_PREFSRC, address, sizeof *address);
  end(&batch, message);
  return send_batch(NETLINK_ROUTE, &batch);
}

// --- the rule -----------------------------------------------------------------------------------

static const char table[] = "kfhost";
static const char chain[] = "output";

static void put_family(struct batch *batch) {
  struct nfgenmsg *head = take(batch, sizeof *head);
  head->nfgen_family = NFPROTO_IPV4;
  head->version = NFNETLINK_V0;
}

static void bracket(struct batch *batch, int type) {
  struct nlmsghdr *message = begin(batch, type, 0, false);
  struct nfgenmsg *head = take(batch, sizeof *head);
  head->res_id = htons(NFNL_SUBSYS_NFTABLES);
  end(batch, message);
}

static struct nlmsghdr *begin_nft(struct batch *batch, int type, int flags) {
  struct nlmsghdr *m = begin(batch, NFNL_SUBSYS_NFTABLES << 8 | type, NLM_F_CREATE | flags, true);
  put_family(batch);
  return m;
}

static void new_table(struct batch *batch) {
  struct nlmsghdr *message = begin_nft(batch, NFT_MSG_NEWTABLE, 0);
  put_text(batch, NFTA_TABLE_NAME, table);
  end(batch, message);
}

static void new_chain(struct batch *batch) {
  struct nlmsghdr *message = begin_nft(batch, NFT_MSG_NEWCHAIN, 0);
  put_text(batch, NFTA_CHAIN_TABLE, table);
  put_text(batch, NFTA_CHAIN_NAME, chain);
  struct rtattr *hook = open_nest(batch, NFTA_CHAIN_HOOK);
  put_number(batch, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
  put_number(batch, NFTA_HOOK_PRIORITY, (uint32_t)-100);
  close_nest(batch, hook);
  put_text(batch, NFTA_CHAIN_TYPE, "nat");
  end(batch, message);
}

struct expression {
  struct rtattr *element, *data;
};

static struct expression open_expression(struct batch *batch, const char *name) {
  struct expression e = {.element = open_nest(batch, NFTA_LIST_ELEM)};
  put_text(batch, NFTA_EXPR_NAME, name);
  e.data = open_nest(batch, NFTA_EXPR_DATA);
  return e;
}

static void close_expression(const struct batch *batch, struct expression e) {
  close_nest(batch, e.data);
  close_nest(batch, e.element);
}

static void put_value(struct batch *batch, int type, const void *value, size_t size) {
  struct rtattr *nest = open_nest(batch, type);
  put(batch, NFTA_DATA_VALUE, value, size);
  close_nest(batch, nest);
}

static void compare(struct batch *batch, enum nft_cmp_ops how, const void *value, size_t size) {
  struct expression e = open_expression(batch, "cmp");
  put_number(batch, NFTA_CMP_SREG, NFT_REG_1);
  put_number(batch, NFTA_CMP_OP, how);
  put_value(batch, NFTA_CMP_DATA, value, size);
  close_expression(batch, e);
}

static void load_protocol(struct batch *batch) {
  struct expression e = open_expression(batch, "meta");
  put_number(batch, NFTA_META_DREG, NFT_REG_1);
  put_number(batch, NFTA_META_KEY, NFT_META_L4PROTO);
  close_expression(batch, e);
}

static void load_destination(struct batch *batch, uint32_t size) {
  struct expression e = open_expression(batch, "payload");
  put_number(batch, NFTA_PAYLOAD_DREG, NFT_REG_1);
  put_number(batch, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
  put_number(batch, NFTA_PAYLOAD_OFFSET, 16);
  put_number(batch, NFTA_PAYLOAD_LEN, size);
  close_expression(batch, e);
}

static void redirect(struct batch *batch, uint16_t port) {
  uint16_t value = htons(port);
  struct expression e = open_expression(batch, "immediate");
  put_number(batch, NFTA_IMMEDIATE_DREG, NFT_REG_1);
  put_value(batch, NFTA_IMMEDIATE_DATA, &value, sizeof value);
  close_expression(batch, e);
  e = open_expression(batch, "redir");
  put_number(batch, NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1);
  close_expression(batch, e);
}

// tcp, to 10.0.0.0/8, not to this pod: to the port of ours.
static void new_rule(struct batch *batch, const struct in_addr *address, uint16_t port) {
  static const unsigned char tcp = IPPROTO_TCP, net = CLUSTER_NET;
  struct nlmsghdr *message = begin_nft(batch, NFT_MSG_NEWRULE, NLM_F_APPEND);
  put_text(batch, NFTA_RULE_TABLE, table);
  put_text(batch, NFTA_RULE_CHAIN, chain);
  struct rtattr *list = open_nest(batch, NFTA_RULE_EXPRESSIONS);
  load_protocol(batch);
  compare(batch, NFT_CMP_EQ, &tcp, sizeof tcp);
  load_destination(batch, 1);
  compare(batch, NFT_CMP_EQ, &net, sizeof net);
  load_destination(batch, sizeof *address);
  compare(batch, NFT_CMP_NEQ, address, sizeof *address);
  redirect(batch, port);
  close_nest(batch, list);
  end(batch, message);
}

static int add_rule(const struct in_addr *address, uint16_t port) {
  struct batch batch = {0};
  bracket(&batch, NFNL_MSG_BATCH_BEGIN);
  new_table(&batch);
  new_chain(&batch);
  new_rule(&batch, address, port);
  bracket(&batch, NFNL_MSG_BATCH_END);
  return send_batch(NETLINK_NETFILTER, &batch);
}

int kf_pod_network(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  lua_Integer port = luaL_checkinteger(L, 2);
  struct in_addr address;
  luaL_argcheck(L, inet_pton(AF_INET, text, &address) == 1, 1, "no IPv4 address");
  luaL_argcheck(L, port > 0 && port < 65536, 2, "no port");
  int number = add_address(&address);
  if (number == 0) number = add_route(&address);
  if (number) return kf_fail_errno(L, number, "give the pod the address", text);
  number = add_rule(&address, (uint16_t)port);
  if (number) return kf_fail_errno(L, number, "catch the connections of", text);
  return 0;
}
