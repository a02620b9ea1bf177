// An informer of client-go in sync with all pods: informer dynamic|typed URL
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

func informer(kind string, config *rest.Config) cache.SharedIndexInformer {
	if kind == "typed" {
		factory := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(config), 0)
		return factory.Core().V1().Pods().Informer()
	}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(dynamic.NewForConfigOrDie(config), 0)
	return factory.ForResource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Informer()
}

func main() {
	config := &rest.Config{Host: os.Args[2], QPS: -1}
	pods := informer(os.Args[1], config)
	go pods.Run(context.Background().Done())
	cache.WaitForCacheSync(context.Background().Done(), pods.HasSynced)
	fmt.Println(len(pods.GetStore().ListKeys()))
}
